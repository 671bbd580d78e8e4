"""The command line as a person or a script meets it: stdout, stderr, exit codes.

Most of it in this process; what starts, writes and ends a real one is asked of real ones.
"""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, Command, command, printed, process

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import create_run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

DIGITS = {
    "train": dict.fromkeys("0123456", 120) | dict.fromkeys("789", 20),
    "test": dict.fromkeys("0123456789", 45),
}
LEFT = dict.fromkeys("0123456", 102) | dict.fromkeys("789", 17)  # 15 % cut for validation


def refused(home: Path, *arguments: object, cwd: Path = ROOT, by: Command = command) -> str:
    """The one sentence on stderr with which a command is refused; stdout stays empty."""
    done = by(home, *arguments, "--json", cwd=cwd)
    sentence = done.stderr.strip()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A workspace with the digits, and what adding them told."""
    home = tmp_path_factory.mktemp("home")
    return home, printed(home, "datasets", "add", "digits", "digits", by=process)


@pytest.fixture(scope="module")
def home(added: tuple[Path, dict[str, Any]]) -> Path:
    return added[0]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "home"


def folder_of(path: Path, files: dict[str, int]) -> Path:
    """An image folder whose images are of one gray each."""
    for name, value in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png_bytes(np.full((8, 8), value, np.uint8)))
    return path


def test_adding_a_dataset_tells_what_it_holds(added: tuple[Path, dict[str, Any]]) -> None:
    home, value = added
    assert len(value.pop("fingerprint")) == 64
    assert value.pop("run").endswith(next((home / "runs").glob("2*")).name)
    assert list(value.pop("brightness")) == list(value.pop("forms")) == list("0123456789")
    near = ("largest", "near", "test_images_near", "test_images_with")
    found = {k: v for k, v in value.pop("duplicates").items() if not k.startswith(near)}
    distinct = found.pop("distinct_images")
    assert list(distinct) == list("0123456789")
    findings = value.pop("findings")
    assert set(findings) == {"near", "few-levels"}
    assert findings["few-levels"]["images"] == 0  # of most images, hence a note
    assert "have fewer than 16 gray levels, as line art" in findings["few-levels"]["note"]
    assert found == {
        "symmetries": "none",
        "identical_groups": 0,
        "identical_files": 0,
        "redundant_files": 0,
        "test_images_identical_to_training": 0,
        "label_conflicts": 0,
    }
    assert value == {
        "dataset": "digits",
        "classes": list("0123456789"),
        "channels": 1,
        "counts": DIGITS,
        "imbalance_ratio": 6.0,
        "unreadable": [],
        "gray_levels": "",
        "left_out": [],
        "left_out_counts": {},
        "notes": [],
        "path": str(home / "datasets" / "digits"),
    }


def test_datasets_are_listed_and_shown(home: Path, added: tuple[Path, dict[str, Any]]) -> None:
    assert printed(home, "datasets", "list") == {"datasets": {"digits": DIGITS}}
    shown = printed(home, "datasets", "show", "digits")
    assert shown["counts"] == DIGITS
    assert shown["path"] == str(home / "datasets" / "digits")


def test_a_damaged_dataset_does_not_hide_the_others(new: Path, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "s", {f"{c}/{k}.png": 9 * k for c in "ab" for k in range(3)})
    for name in ("broken", "whole"):
        printed(new, "datasets", "add", name, source)
    with (new / "datasets" / "broken" / "catalogue.csv").open("a") as file:
        file.write("\n")
    assert printed(new, "datasets", "list")["datasets"] == {
        "broken": "Dataset broken is damaged (its catalogue was changed by hand); remove it and "
        "import it again.",
        "whole": {"train": {"a": 3, "b": 3}},
    }


def test_an_empty_workspace_lists_nothing_and_is_not_made(new: Path) -> None:
    assert printed(new, "datasets", "list") == {"datasets": {}}
    assert printed(new, "sets", "list") == {"sets": {}}
    assert printed(new, "runs", "list") == {"runs": []}
    assert not new.exists()


def test_a_person_reads_lines(home: Path) -> None:
    done = process(home, "datasets", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"digits: {json.dumps(DIGITS)}\n"


def test_a_training_says_how_long_it_takes_before_it_starts(home: Path) -> None:
    quick = printed(home, "train", "ddpm", "digits", "--estimate")
    assert quick["seconds"] > 0
    words = ("generators", "train", "ddpm", "digits", "--estimate")
    longer = printed(home, *words, "--override", "steps=1000")
    for name in ("--set", "--override"):
        assert refused(home, *words, name, "pace=1") == (
            "pace=1 does not fit DdpmConfig: Extra inputs are not permitted."
        )
    assert 2 * quick["seconds"] < longer["seconds"] < 10 * quick["seconds"]
    assert longer["disk"] == quick["disk"]
    assert "train" not in {run["kind"] for run in printed(home, "runs", "list")["runs"]}


def test_a_generator_without_costs_has_no_estimate(new: Path, smote: str) -> None:
    assert printed(new, "datasets", "add", "digits", "digits")["dataset"] == "digits"
    assert refused(new, "train", smote, "digits", "--estimate") == (
        "--estimate does not know what a smote costs."
    )


def test_a_training_is_continued_under_its_own_names(new: Path) -> None:
    config = TrainConfig.make("bagan-gp", "pets", "paper").model_dump(mode="json")
    path = create_run(Workspace(new), "train", config, name="bagan-gp on pets")
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})
    (path / "checkpoints").mkdir(exist_ok=True)
    (path / "checkpoints" / "000100.pt").touch()
    further = ("--continue", path.name, "--set", "epochs=999")
    for names in (("ddpm", "pets"), ("bagan-gp", "faces")):
        assert refused(new, "generators", "train", *names, *further) == (
            "That run trained bagan-gp on pets; pass those names."
        )
    assert refused(new, "generators", "train", "bagan-gp", "pets", *further, "--estimate") == (
        "--estimate works only for new trainings."
    )


def test_export_writes_the_originals(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    value = printed(home, "datasets", "export", "digits", "out", cwd=tmp_path)
    assert value == {"dataset": "digits", "folder": str(target)}
    files = [p.relative_to(target) for p in target.rglob("*.png")]
    counts = Counter(p.parts[:2] for p in files)
    assert counts == {
        (folder, label): number
        for folder, split in (("Training", "train"), ("Testing", "test"))
        for label, number in DIGITS[split].items()
    }
    again = refused(home, "datasets", "export", "digits", "out", cwd=tmp_path, by=process)
    assert again == f"out already exists in {tmp_path}; choose another name."


def test_a_folder_is_added_by_its_relative_path_and_removed(new: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "pets", {"cat/0.png": 1, "cat/1.png": 2, "dog/0.png": 3, "dog/1.png": 4})
    value = printed(new, "datasets", "add", "pets", "pets", cwd=tmp_path)
    assert value["counts"] == {"train": {"cat": 2, "dog": 2}}
    removed = printed(new, "datasets", "remove", "pets", "--yes")
    assert removed == {"removed": "pets", "left": ""}
    assert printed(new, "datasets", "list") == {"datasets": {}}
    assert (tmp_path / "pets" / "cat" / "0.png").exists()


def test_sets_are_made_and_shown(new: Path, tmp_path: Path) -> None:
    names = {f"Training/cat/{k}.png": k for k in range(40)}
    names |= {f"Training/dog/{k}.png": 50 + k for k in range(20)}
    names |= {f"Testing/{c}/{k}.png": 90 + k for c in ("cat", "dog") for k in range(3)}
    printed(new, "datasets", "add", "pets", folder_of(tmp_path / "pets", names))
    made = printed(new, "sets", "make", "skewed", "pets", "--skew", "step:17", "--seed", 5)
    assert made == {
        "set": "skewed",
        "split": "official",
        "counts": {"cat": 34, "dog": 2},
        "ratio": 17.0,
        "train": 36,
        "validation": 7,
        "test": 6,
        "dropped": {},
        "notes": [
            "Fewer than 10 validation images of cat (6), dog (1): the chosen epoch depends on "
            "them; compare the last epoch's figures as well."
        ],
    }
    shown = printed(new, "sets", "show", "skewed")
    assert shown["config"] == {
        "dataset": "pets",
        "split": "official",
        "difference": 0.12,
        "distinct": False,
        "skew": "step:17",
        "validation_skew": "skewed",
        "poses": [],
        "limit": None,
        "validation": 0.15,
        "fit": "pad",
        "seed": 5,
        "reserve": 0,
        "test_seed": 0,
    }
    assert shown["evaluations"] == []
    assert (len(shown["train"]), len(shown["validation"]), len(shown["test"])) == (36, 7, 6)
    assert printed(new, "sets", "list") == {"sets": {"skewed": {"cat": 34, "dog": 2}}}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["datasets", "show", "faces"],
            "There is no dataset 'faces' (there is: digits); add it with `datasets add`.",
        ),
        (
            ["datasets", "add", "digits", "phantom"],
            "Dataset 'digits' already exists; choose another name or remove it.",
        ),
        (
            ["datasets", "show", "[/red]"],
            "There is no dataset '[/red]' (there is: digits); add it with `datasets add`.",
        ),
        (
            ["sets", "make", "new", "digits", "--skew", "steep:3"],
            "Skew 'steep:3' is not understood; write 'none', 'step:20', 'step:20@class', 'long:50' "
            "or 'class=number,class=number'.",
        ),
        (
            ["sets", "make", "digits", "digits"],
            "'digits' is taken by another training set or dataset; choose another.",
        ),
        (
            ["train", "ddpm", "faces"],
            "There is no training set or dataset 'faces' (there is: digits).",
        ),
        (
            ["generators", "train", "ddpm", "digits", "--class", "x"],
            "There is no class 'x' in digits; it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
        ),
        (
            ["generators", "train", "ddpm", "digits", "--continue", "x", "--from", "y"],
            "--continue and --from exclude each other: choose one.",
        ),
        (
            ["generators", "train", "ddpm", "digits", "--from", "y", "--set", "steps=2"],
            "--class and --set don't change what was trained; leave them out.",
        ),
        (
            ["generators", "train", "ddpm", "digits", "--continue", "x", "--class", "9"],
            "--class and --set don't change what was trained; leave them out.",
        ),
        (
            ["compare", "digits", "--preset", "huge"],
            "There is no preset 'huge'; choose one of quick, small, paper, strong.",
        ),
        (
            ["compare", "digits", "--preset", "huge", "--set", "epochs=2"],
            "There is no preset 'huge'; choose one of quick, small, paper, strong.",
        ),
        (
            ["study", "digits", "--preset", "huge"],
            "There is no preset 'huge'; choose one of quick, small, paper, strong.",
        ),
        (
            ["compare", "digits", "--arms", "none,ddpm"],
            "There are no images of ddpm for training set digits; run `generators train ddpm "
            "digits`, then `generators sample`.",
        ),
        (
            ["compare", "digits", "--arms", "none", "--schedules", "until:9,always"],
            "Two of the schedules until:9, always are the same over 8 epochs; leave one out or "
            "train longer.",
        ),
        (
            ["compare", "digits", "--arms", "none", "--seeds", "0,one"],
            "seeds.1='one' does not fit CompareConfig: Input should be a valid integer, unable to "
            "parse string as an integer.",
        ),
        (
            ["poses", "faces"],
            "There is no dataset 'faces' (there is: digits); add it with `datasets add`.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_sentence_before_any_work(
    home: Path, arguments: list[str], sentence: str
) -> None:
    runs = sorted((home / "runs").iterdir())
    assert refused(home, *arguments) == sentence
    assert sorted((home / "runs").iterdir()) == runs
    assert not (home / "sets").exists() or not list((home / "sets").iterdir())


def test_a_missing_path_is_looked_for_where_the_person_stands(new: Path, tmp_path: Path) -> None:
    """`tests` lies in the repository, where the worker runs, but not here."""
    sentence = refused(new, "datasets", "add", "pets", "tests", cwd=tmp_path, by=process)
    assert (
        f"{tmp_path / 'tests'} does not exist; choose a zip, a folder, a CSV, or one of" in sentence
    )
    assert printed(new, "datasets", "list") == {"datasets": {}}


def test_a_word_that_is_no_command_is_a_usage_error(new: Path) -> None:
    done = process(new, "datasets", "ad")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'ad'" in done.stderr


def test_runs_are_listed_shown_and_removed(new: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.zip"
    sentence = (
        f"{missing} does not exist; choose a zip, a folder, a CSV, or one of phantom, digits, "
        "kaggle."
    )
    failed = refused(new, "datasets", "add", "pets", missing)
    (listed,) = printed(new, "runs", "list")["runs"]
    assert failed == f"Run {listed['run']} failed: {sentence}"
    about = {k: listed[k] for k in ("kind", "name", "status", "reason")}
    assert about == {
        "kind": "import",
        "name": "import pets",
        "status": "failed",
        "reason": sentence,
    }
    shown = printed(new, "runs", "show", listed["run"][-4:])
    assert shown["config"]["source"] == str(missing)
    assert (shown["last"], shown["result"]) == ([], {})
    log = command(new, "runs", "log", listed["run"])
    assert (log.returncode, log.stdout) == (0, f"{sentence}\n")
    assert refused(new, "runs", "cancel", listed["run"]) == (
        f"Run {listed['run']} is failed; there is nothing to cancel."
    )
    assert printed(new, "runs", "remove", listed["run"], "--yes") == {"removed": listed["run"]}
    assert refused(new, "runs", "show", listed["run"]) == (
        f"no run named {listed['run']!r} in {new / 'runs'}; `runs list` shows them."
    )


def test_the_rebalanced_set_of_the_baseline_is_the_training_set(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    value = printed(home, "rebalance", "digits", "none", target)
    assert value == {
        "folder": str(target),
        "counts": LEFT,
        "real": LEFT,
        "added": {},
        "synthetic": None,
    }
    about = json.loads((target / "manifest.json").read_text())
    assert (about["training_set"], about["arm"], about["counts"]) == ("digits", "none", LEFT)
    with (target / "manifest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert Counter(line["class"] for line in lines) == LEFT
    assert {line["kind"] for line in lines} == {"real"}
    digits = open_dataset(Workspace(home), "digits")
    for line in lines:
        assert (target / line["file"]).read_bytes() == digits.read_original(line["source"])
    assert {line["file"] for line in lines} == {
        str(path.relative_to(target)) for path in target.rglob("*.png")
    }


def test_files_of_one_name_stay_apart_in_the_rebalanced_set(new: Path, tmp_path: Path) -> None:
    """`cat/a/b.png` and `cat/a_b.png` are two images."""
    names = {f"cat/{a}{between}b.png": ord(a) for a in "1234" for between in "/_"}
    names |= {f"dog/{k}.png": 50 + k for k in range(6)}
    printed(new, "datasets", "add", "pets", folder_of(tmp_path / "pets", names))
    value = printed(new, "rebalance", "pets", "none", tmp_path / "out")
    written = [p.relative_to(tmp_path / "out").parts[0] for p in tmp_path.glob("out/**/*.png")]
    assert value["counts"] == Counter(written) == {"cat": 5, "dog": 4}


def test_the_doctor_finds_nothing_to_mend(new: Path) -> None:
    done = process(new, "doctor", "--json")
    value = json.loads(done.stdout)
    # Room on the disk and in memory is the machine's affair, the rest is the installation's.
    assert [p for p in value["problems"] if " GiB " not in p] == []
    assert (value["ok"], done.returncode) == (not value["problems"], 0 if value["ok"] else 1)
    assert value["workspace"] == str(new)
    assert None not in value["versions"].values()
    assert value["cores"] == os.cpu_count()
