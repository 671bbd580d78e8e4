"""Damaged provenance, scores and quiz attempts: one sentence, or skipped; the others stay."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import BYTES, VALUES, corruptions, replace_file
from pydantic import ValidationError
from sets import synthetic_set
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.plots.scores import score_plot
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.synthesis.quiz import describe_tally, read_tally
from rebalance_core.synthesis.records import METRICS, Provenance, read_provenance, read_scores
from rebalance_core.synthesis.scoring import ScoreConfig, find_scoring, score_table
from rebalance_core.synthesis.synthetic_set import open_all_synthetic, open_synthetic
from rebalance_core.system.files import digest, read_json, write_json
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import HOME_VARIABLE, Workspace

FIELDS = (
    "provenance",
    "network",
    "components",
    "titles",
    "titles.frechet",
    "scorer",
    "classes",
    "classes.glioma",
    "classes.glioma.images",
    "classes.glioma.real",
    "classes.glioma.compared",
    "classes.glioma.figures",
    "classes.glioma.figures.frechet",
    "classes.glioma.figures.frechet.generated",
    "classes.glioma.figures.frechet.real_spread",
    "classes.glioma.warnings",
)
QUALITY_VIEW = """
from pathlib import Path
from pages.parts.frame import show_user_errors
from pages.parts.scores import scores
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.workspace import Workspace
workspace = Workspace(Path({root!r}))
show_user_errors(scores)(workspace, open_synthetic(workspace, {name!r}))
"""
ATTEMPT = {"time": 1.0, "seed": 0, "answers": "rg" * 10, "truth": "gr" * 10}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with two synthetic sets of a phantom, both scored."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    import_dataset(
        workspace, ImportConfig(name="p", source="phantom", count=120, size=32), MemoryRun()
    )
    for kind in ("ddpm", "bagan-gp"):
        scored(workspace, synthetic_set(workspace, kind, "p", count=3))
    return workspace


def scored(workspace: Workspace, name: str) -> RunView:
    path = create_run(workspace, "score", ScoreConfig(synthetic=name).model_dump(), name="score")
    sides = {"generated": 3.0, "real": 1.0, "generated_spread": 0.2, "real_spread": 0.1}
    score = {"images": 3, "real": 9, "compared": 4, "warnings": ["few"]}
    record = {
        "synthetic": name,
        "provenance": open_synthetic(workspace, name).provenance.digest,
        "training_set": "p",
        "network": "a network",
        "components": 32,
        "titles": {name: title for name, (title, _) in METRICS.items()},
        "scorer": {"epochs": 20, "seed": 0},
        "classes": {"glioma": {**score, "figures": {"frechet": sides}}},
    }
    write_json(path / "result" / "scores.json", record)
    RunDirectory(path).end("done")
    return view_run(path)


def damaged_scores(path: Path) -> Iterator[tuple[str, bytes]]:
    yield from BYTES.items()
    for field in FIELDS:
        for what, content in corruptions(read_json(path), field):
            yield f"{field} {what}", content


def test_damaged_scores_are_one_sentence_and_hide_no_others(home: Workspace) -> None:
    broken, other = open_synthetic(home, "p-ddpm"), open_synthetic(home, "p-bagan-gp")
    view = scored(home, broken.name)
    path = view.path / "result" / "scores.json"
    cases = list(damaged_scores(path))
    refused = 0
    for what, content in cases:
        replace_file(path, content)
        found = find_scoring(home, broken)
        assert found is not None, what
        if found.id == view.id:
            try:
                scores = read_scores(found)
            except UserError as error:
                refused += 1
                sentence = str(error)
                assert sentence.startswith(f"{path} is damaged ("), what
                assert sentence.endswith("; remove the run, and score the set again."), what
                assert "\n" not in sentence and len(sentence) < 1000, what
            else:
                json.dumps(score_table(scores))
                for name in scores.names:
                    assert scores.titles[name], what
                    score_plot(scores.by_class(name)).to_json()
        healthy = find_scoring(home, other)
        assert healthy is not None and read_scores(healthy).names == ["frechet"], what
    assert refused > len(cases) / 2
    assert scored(home, broken.name).id == getattr(find_scoring(home, broken), "id", None)


@pytest.mark.parametrize("what", ["empty", "list", "deep inside"])
def test_the_quality_view_names_damaged_scores_and_offers_to_score(
    home: Workspace, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    view = scored(home, "p-ddpm")
    replace_file(view.path / "result" / "scores.json", BYTES[what])
    root = str(home.root)
    app = AppTest.from_string(
        QUALITY_VIEW.format(root=root, name="p-ddpm"), default_timeout=60
    ).run()
    assert not app.exception
    assert [e.value.split(" is damaged")[0] for e in app.error] == [
        str(view.path / "result" / "scores.json")
    ]
    assert [b.label for b in app.button if not b.disabled] == ["Score"]
    app = AppTest.from_string(
        QUALITY_VIEW.format(root=root, name="p-bagan-gp"), default_timeout=60
    ).run()
    assert not app.exception and not app.error
    assert len(app.dataframe) == 1


def test_scores_of_earlier_versions_are_read_under_current_names(home: Workspace) -> None:
    view = scored(home, "p-ddpm")
    path = view.path / "result" / "scores.json"
    half = {"generated": 0.5, "real": 0.25}
    figures = {"memorised": half, "as_asked": half, "frechet": half, "newer": 1}
    score = {"images": 3, "real": 9, "compared": 4, "warnings": [], "figures": figures}
    titles = {"frechet": "FID", "memorised": "copies", "newer": "x"}
    write_json(path, {"network": "x", "titles": titles, "classes": {"glioma": score}})
    scores = read_scores(view)
    assert scores.names == ["frechet", "near_copy_rate", "label_accuracy"]
    assert scores.by_class("near_copy_rate")["glioma"]["generated"] == 0.5
    assert scores.titles["near_copy_rate"] == "copies"
    assert scores.titles["frechet"] == "Fréchet distance (Inception, torchvision)"
    assert scores.titles["label_accuracy"] == "classified as its class"
    write_json(path, {"network": "x", "components": 32, "classes": {"glioma": score}})  # the first
    assert read_scores(view).titles["frechet"] == "Fréchet distance"
    view.path.joinpath("result", "scores.json").unlink()
    with pytest.raises(UserError, match=r"scores\.json does not exist"):
        read_scores(view)


def test_provenance_is_written_as_it_is_read_and_keeps_its_digest(home: Workspace) -> None:
    """Scores, filters and cells of comparisons refer to a set by the digest of its provenance."""
    folder = home.synthetic / "p-ddpm"
    stored = read_json(folder / "provenance.json")
    del stored["training_set"]["dropped"], stored["training_set"]["config"]["fit"]  # older
    seen: dict[str, Any] = {**stored["training_set"], "name": "seen"}
    step = {
        "name": "copies",
        "value": True,
        "from": {"name": "x", "provenance": "y", "newer": 1},
        "training_set": seen,
        "removed": {"glioma": ["glioma/000000.png"]},
        "newer": None,
    }
    stored |= {"believed": True, "filters": [step], "newer": {"x": [1.5]}, "created": 1.25}
    provenance = Provenance.model_validate(stored)
    assert provenance.to_json() == stored
    assert provenance.digest == digest(stored)
    assert provenance.unverified and provenance.training_set.config.fit == "pad"
    assert provenance.filters[0].source.name == "x"


def test_a_new_training_set_is_stored_with_all_fields(home: Workspace) -> None:
    provenance = Provenance(
        generator="x", training_set=open_set(home, "p"), counts={"glioma": 1}, size=32
    )
    assert provenance.to_json()["training_set"] == open_set(home, "p").to_json()
    assert provenance.to_json().keys() == {"generator", "training_set", "counts", "size"}


LABELS = ["", ".", "..", "../x", "a/b", "/etc", "a\0b", "x" * 256, "é" * 128, "a/"]


@pytest.mark.parametrize("label", LABELS)
def test_a_class_that_is_not_a_folder_name_is_refused(home: Workspace, label: str) -> None:
    stored = read_json(home.synthetic / "p-ddpm" / "provenance.json")
    with pytest.raises(ValidationError, match="name of a folder"):
        Provenance.model_validate({**stored, "counts": {label: 1}})
    victim = home.synthetic / "victim"
    shutil.copytree(home.synthetic / "p-ddpm", victim)
    write_json(victim / "provenance.json", {**stored, "counts": {label: 1}})
    with pytest.raises(UserError) as excinfo:
        read_provenance(victim)
    assert str(excinfo.value).startswith(f"{victim / 'provenance.json'} is damaged (counts.")
    assert len(str(excinfo.value).splitlines()) == 1
    found, damaged = open_all_synthetic(home)
    assert ({each.name for each in found}, set(damaged)) == ({"p-ddpm", "p-bagan-gp"}, {"victim"})
    shutil.rmtree(victim)


def test_invalid_lines_among_attempts_are_skipped(home: Workspace) -> None:
    odd = [content for content in BYTES.values() if b"\n" not in content]
    for field in ATTEMPT:
        odd += [content for _, content in corruptions(ATTEMPT, field)]
    odd += [json.dumps(ATTEMPT | {"answers": a, "truth": t}).encode() for a, t in ODD_PAIRS]
    path = home.quiz_attempts("p-ddpm")
    path.parent.mkdir(exist_ok=True)
    replace_file(path, b"\n".join(odd) + b"\n")
    alone = read_tally(home, "p-ddpm")
    replace_file(path, b"\n".join([json.dumps(ATTEMPT).encode(), *odd]) + b"\n")
    tally = read_tally(home, "p-ddpm")
    assert tally is not None and tally.attempts == 1 + (alone.attempts if alone else 0)
    assert tally.attempts < len(VALUES)
    assert describe_tally("p-ddpm", tally).startswith(f"p-ddpm: {tally.attempts} attempts; 100%")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_tally(home, "p-ddpm")
    path.rmdir()


ODD_PAIRS: list[tuple[Any, Any]] = [
    ("", ""),
    ("r", "rg"),
    ("rr", "rr"),
    ("gg", "gg"),
    ("rx", "rg"),
    (["r", "g"], [["g"], "r"]),
    (5, 5),
]


@pytest.mark.parametrize("what", BYTES)
def test_an_unreadable_image_is_one_sentence(home: Workspace, what: str) -> None:
    synthetic = open_synthetic(home, "p-ddpm")
    label = next(iter(synthetic.counts))
    file = synthetic.files(label)[0]
    original = file.read_bytes()
    replace_file(file, BYTES[what])
    for read in (lambda: synthetic.images(label), lambda: synthetic.check_images(1)):
        with pytest.raises(UserError) as excinfo:
            read()
        assert str(excinfo.value) == (
            f"{file} is not a readable image; create the synthetic set again."
        )
    replace_file(file, original)
