"""A tiny comparison from end to end, and what a kill may not change."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sets import synthetic_set

from rebalance_core.comparison.cells import check_compare, plan_additions
from rebalance_core.comparison.config import PAPER_ARMS, CompareConfig
from rebalance_core.comparison.job import compare_job
from rebalance_core.comparison.rebalanced import write_rebalanced
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.quiz import open_quiz, submit_answers
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

CLASSIFIER = {"size": 32, "epochs": 4, "lr": 0.01, "batch_size": 16}


@pytest.fixture
def ready(workspace: Workspace, phantom: Dataset) -> Workspace:
    for kind in ("bagan-gp", "ddpm"):
        synthetic_set(workspace, kind, phantom.name)
    return workspace


def compare_run(workspace: Workspace, **changes: Any) -> Path:
    values = {
        "arms": PAPER_ARMS,
        "amounts": "10",
        "schedules": ("always", "until:2"),
        "classifier": CLASSIFIER,
        "reuse": False,
    }
    config = CompareConfig.from_preset("quick", set="phantom", **{**values, **changes})
    return create_run(workspace, "compare", config.model_dump(mode="json"), name="tiny")


def logged(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in m.items() if k != "time"} for m in read_metrics(path) if "cell" in m]


def test_comparison_trains_every_cell_once_and_reports(ready: Workspace) -> None:
    quiz = open_quiz(ready, "phantom-ddpm", 0)
    submit_answers(ready, quiz, ["r"] * 20)
    path = compare_run(ready)
    result = compare_job(ready, RunDirectory(path))
    report = (path / "result" / "report.html").read_text()
    assert "<h2>Real or generated?</h2>" in report
    assert "phantom-ddpm: 1 attempt; 100% (72% to 100%) of the generated images" in report
    assert "phantom-bagan-gp: 1 attempt" not in report
    rows = {(r["arm"], r["schedule"]) for r in result["results"]}
    assert rows == {
        ("none", None),
        ("bagan-gp", "always"),
        ("bagan-gp", "until:2"),
        ("ddpm", "always"),
        ("ddpm", "until:2"),
    }
    for row in result["results"]:
        confusion = np.array(row["confusion"])
        assert confusion.sum() == 30
        assert row["accuracy"] == pytest.approx(np.trace(confusion) / 30)
        added = (
            {} if row["arm"] == "none" else dict.fromkeys(("glioma", "meningioma", "pituitary"), 10)
        )
        assert row["added"] == added
    assert [m["step"] for m in logged(path)] == list(range(1, 21))
    report = Path(result["report"]).read_text()
    assert "The paper&#39;s" not in report  # those are of other data
    assert "not for diagnosis" in report
    for outside in ('src="http', "src='http", 'href="http', "url(http"):
        assert outside not in report.split("</script>", 1)[1]


def test_comparison_stopped_anywhere_goes_on_as_if_it_had_not(ready: Workspace) -> None:
    whole = compare_run(ready, arms=("none", "ddpm"))
    expected = compare_job(ready, RunDirectory(whole))["results"]
    path = compare_run(ready, arms=("none", "ddpm"))
    for epochs in (2, 5, 10):

        class Impatient(RunDirectory):
            """Requests a stop once it has logged so many epochs."""

            def should_stop(self) -> bool:
                return len(logged(self.path)) >= epochs  # noqa: B023

        with pytest.raises(Cancelled):
            compare_job(ready, Impatient(path))
    resumed = compare_job(ready, RunDirectory(path))["results"]
    assert logged(path) == logged(whole)
    for row, same in zip(resumed, expected, strict=True):
        assert {**row, "seconds": 0} == {**same, "seconds": 0}


def test_a_cell_whose_lines_a_kill_truncated_is_not_trained_again(ready: Workspace) -> None:
    path = compare_run(ready, arms=("none",))
    compare_job(ready, RunDirectory(path))
    before = logged(path)
    cell = next((path / "result" / "cells").glob("*.json"))
    kept = cell.stat().st_mtime_ns
    shutil.rmtree(path / "checkpoints")  # killed before the first checkpoint
    compare_job(ready, RunDirectory(path))
    assert cell.stat().st_mtime_ns == kept
    assert logged(path) == before


def test_what_cannot_be_compared_is_refused_before_any_work(ready: Workspace) -> None:
    def refused(match: str, **changes: Any) -> None:
        values = {"arms": PAPER_ARMS, "amounts": "10", "schedules": ("always",), **changes}
        config = CompareConfig.from_preset("quick", **{"set": "phantom", **values})
        with pytest.raises(UserError, match=match):
            check_compare(ready, config)

    refused("glioma: 10 of 11", amounts="11", cap=None)
    refused("are the same over 8 epochs", schedules=("always", "until:8"))
    refused("no synthetic set 'gone'", synthetic={"ddpm": "gone"})
    refused("primary='focal': it is not compared; name one of none, bagan-gp,", primary="focal")
    refused("against='<b>': it is not compared; name one of none, bagan-gp,", against="<b>")
    make_set(ready, "rare", SetConfig(dataset="phantom", skew="step:20"))
    refused("There are no images of bagan-gp for training set rare", set="rare")
    refused(
        "was exposed to .* images outside training set rare",
        set="rare",
        synthetic={"bagan-gp": "phantom-bagan-gp", "ddpm": "phantom-ddpm"},
    )


def test_a_balanced_set_needs_a_number_of_images(ready: Workspace) -> None:
    counts = open_set(ready, "phantom").counts
    even = make_set(ready, "even", SetConfig(dataset="phantom", skew=f"notumor={counts['glioma']}"))
    assert even.minority == []
    config = CompareConfig.from_preset("quick", set="even", amounts="1.0")
    with pytest.raises(UserError, match=r"Amount 1\.0 adds no image to training set even"):
        plan_additions(config, even, "1.0")
    numbered = CompareConfig.from_preset("quick", set="even", amounts="5")
    assert plan_additions(numbered, even, "5") == dict.fromkeys(even.classes, 5)


def test_rebalanced_set_holds_real_and_generated_images(ready: Workspace, tmp_path: Path) -> None:
    chosen = open_set(ready, "phantom")
    about = write_rebalanced(ready, "phantom", "ddpm", tmp_path / "out", amount="10")
    for label in chosen.classes:
        files = sorted(p.name for p in (tmp_path / "out" / label).iterdir())
        generated = [f for f in files if f.startswith("ddpm_")]
        assert len(generated) == (0 if label == "notumor" else 10)
        assert len(files) - len(generated) == chosen.counts[label]
        assert about["counts"][label] == len(files)
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["fingerprint"] == chosen.fingerprint
    lines = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert lines[0] == "file,class,kind,source"
    assert len(lines) - 1 == sum(about["counts"].values())
    held_out = {*chosen.validation, *chosen.test}
    assert not any(line.split(",")[3] in held_out for line in lines[1:])
    assert json.dumps(manifest["provenance"])
    with pytest.raises(UserError, match="already exists"):
        write_rebalanced(ready, "phantom", "none", tmp_path / "out")
