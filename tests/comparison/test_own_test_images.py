"""Parts that lack a class, and seeds that each draw their own test images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_records import cell_record
from commands import command
from sets import synthetic_set
from streamlit.testing.v1 import AppTest
from test_study import CLASSIFIER

from rebalance_core.comparison.cells import resolve_cells, resolve_inputs
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.disagreements import find_disagreements, read_training_sets
from rebalance_core.comparison.job import compare_job
from rebalance_core.comparison.records import CellRecord, read_cells
from rebalance_core.comparison.results import displayed_result, read_results
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.study import StudyConfig, study_job
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
TINY = {**CLASSIFIER, "network": "nets:tiny", "epochs": 2}


def picture(random: np.random.Generator, level: int) -> bytes:
    pixels = random.integers(0, 80, (16, 16)) + level
    return png_bytes(pixels.astype(np.uint8))


def folder_of(path: Path, counts: dict[str, int]) -> Path:
    """{part/class: images} as files; a class has a brightness of its own."""
    random = np.random.default_rng(0)
    levels = {label: 50 * k for k, label in enumerate(sorted({n.split("/")[1] for n in counts}))}
    for name, count in counts.items():
        (path / name).mkdir(parents=True)
        for k in range(count):
            image = picture(random, levels[name.split("/")[1]])
            (path / name / f"{name.replace('/', '-')}-{k}.png").write_bytes(image)
    return path


def imported(workspace: Workspace, source: Path, name: str) -> Dataset:
    return import_dataset(workspace, ImportConfig(name=name, source=str(source)), MemoryRun())


@pytest.fixture
def no_bird_tests(workspace: Workspace, tmp_path: Path) -> Dataset:
    """A dataset whose Testing folder lacks a class."""
    counts = {
        "Training/ant": 30,
        "Training/bird": 10,
        "Training/cat": 10,
        "Testing/ant": 8,
        "Testing/cat": 6,
    }
    return imported(workspace, folder_of(tmp_path / "pets", counts), "pets")


@pytest.fixture
def no_bird_validation(workspace: Workspace, tmp_path: Path) -> Dataset:
    counts = {"train/ant": 30, "train/bird": 10, "val/ant": 8, "test/ant": 8, "test/bird": 4}
    return imported(workspace, folder_of(tmp_path / "pets", counts), "pets")


def config_of(**changes: Any) -> CompareConfig:
    values = {
        "set": "pets",
        "arms": ("none", "oversample"),
        "amounts": "5",
        "schedules": ("always",),
        "classifier": TINY,
        **changes,
    }
    return CompareConfig.from_preset("quick", **values)


def compared(workspace: Workspace, **changes: Any) -> Path:
    dumped = config_of(**changes).model_dump(mode="json")
    path = create_run(workspace, "compare", dumped, name="compare on pets")
    compare_job(workspace, RunDirectory(path))
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})
    return path


def page_of(run: Path, set_name: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.query_params["set"], app.query_params["run"] = set_name, run.name
    app.switch_page("pages/comparison.py").run()
    assert not app.exception
    return app


NO_TEST = (
    "No test image of bird: every average over classes on the test split is over the other "
    "classes, the same for all arms."
)


def test_a_class_without_test_images_is_in_no_average_and_is_named(
    workspace: Workspace, no_bird_tests: Dataset
) -> None:
    made = command(workspace.root, "sets", "make", "own", "pets", "--json")
    assert json.loads(made.stdout)["notes"] == [
        NO_TEST,
        "Fewer than 10 validation images of ant (4), bird (2), cat (2): the chosen epoch depends "
        "on them; compare the last epoch's figures as well.",
    ]
    run = compared(workspace, seeds=(0, 1, 2))
    for cell in read_cells(run):
        test = cell.best.test
        confusion = np.array(test.confusion)
        assert confusion.sum(axis=1).tolist() == [8, 0, 6]
        recall = np.diag(confusion)[[0, 2]] / [8, 6]
        assert test.measures["balanced_accuracy"] == pytest.approx(recall.mean())
        assert test.recall == [pytest.approx(recall[0]), None, pytest.approx(recall[1])]
        predicted = confusion.sum(axis=0)[[0, 2]]
        f1 = 2 * np.diag(confusion)[[0, 2]] / np.add(predicted, [8, 6])
        assert test.primary == pytest.approx(f1.mean())
    results = read_json(run / "result" / "results.json")
    assert results["answer"].endswith(
        "The test split has no image of bird: averages are over the other classes, for all arms."
    )
    assert results["sets"] == [
        {
            "seed": 0,
            "name": "pets",
            "train": {"ant": 26, "bird": 8, "cat": 8},
            "validation": {"ant": 4, "bird": 2, "cat": 2},
            "test": {"ant": 8, "bird": 0, "cat": 6},
            "absent": ["bird"],
        }
    ]
    report = (run / "result" / "report.html").read_text()
    assert "<b>The test split has no image of bird: averages are over the other" in report
    app = page_of(run, "pets")
    assert NO_TEST in [w.value for w in app.warning]
    assert [s.value for s in app.success] == []
    assert any("has no image of bird" in i.value for i in app.info)


def test_cells_measured_over_an_absent_class_are_not_taken_again(
    workspace: Workspace, no_bird_tests: Dataset, phantom: Dataset
) -> None:
    """Cells of before averaged over all classes; where none is absent, keys are as before."""

    def keys(set_name: str) -> tuple[str, str]:
        config = config_of(set=set_name, arms=("none",))
        inputs = resolve_inputs(workspace, config)
        before = {seed: replace(own, absent=()) for seed, own in inputs.items()}
        (now,), (then,) = (resolve_cells(config, each, None) for each in (inputs, before))
        return now.key, then.key

    now, then = keys("phantom")
    assert now == then
    now, then = keys("pets")
    assert now != then


def test_a_comparison_without_a_class_in_validation_is_refused(
    workspace: Workspace, no_bird_validation: Dataset
) -> None:
    message = (
        "Training set pets has no validation image of bird, and a comparison chooses each "
        "classifier's epoch on validation; make a set with a larger validation fraction or another "
        "split, or add images of that class."
    )
    done = command(workspace.root, "compare", "pets", "--arms", "none")
    assert (done.returncode, done.stderr.strip()) == (2, message)
    assert list(workspace.runs.glob("*")) == []
    made = json.loads(command(workspace.root, "sets", "make", "own", "pets", "--json").stdout)
    assert made["notes"] == [
        "No validation image of bird: epochs are chosen on validation, so a comparison needs "
        "images of every class and is refused.",
        "Fewer than 10 validation images of ant (8): the chosen epoch depends on them; compare the "
        "last epoch's figures as well.",
    ]
    with pytest.raises(UserError) as error:  # a run created in another way
        compared(workspace)
    assert str(error.value) == message
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.query_params["set"] = "pets"
    app.switch_page("pages/comparison.py").run()
    assert message in [e.value for e in app.error]
    assert "Compare" not in [b.label for b in app.button]


def test_a_whole_study_is_refused_before_its_generators_are_trained(
    workspace: Workspace, no_bird_validation: Dataset
) -> None:
    config = StudyConfig.build(dataset="pets", preset="quick", skew="as it is")
    path = create_run(workspace, "study", config.model_dump(mode="json"), name="study")
    with pytest.raises(UserError, match="has no validation image of bird"):
        study_job(workspace, RunDirectory(path))
    kinds = [read_json(p / "run.json")["kind"] for p in workspace.runs.iterdir()]
    assert "train" not in kinds


@pytest.fixture
def patients(workspace: Workspace, tmp_path: Path) -> Dataset:
    """Without a test split, of patients with many images: each seed tests another number."""
    random = np.random.default_rng(0)
    lines = ["path,label,group"]
    for label, level in (("ant", 0), ("bird", 90)):
        for patient, images in enumerate((5, 6, 8, 9, 11, 13)):
            for k in range(images):
                name = f"{label}-{patient}-{k}.png"
                (tmp_path / name).write_bytes(picture(random, level))
                lines.append(f"{name},{label},{label}{patient}")
    (tmp_path / "pets.csv").write_text("\n".join(lines))
    return imported(workspace, tmp_path / "pets.csv", "pets")


def test_each_seed_is_compared_with_its_own_test_images(
    workspace: Workspace, patients: Dataset
) -> None:
    for seed in (1, 2):  # as sets of versions up to 0.1, whose seed drew the test images too
        config = SetConfig(dataset="pets", seed=seed, test_seed=seed)
        make_set(workspace, f"pets-seed{seed}", config)
    run = compared(workspace, seeds=(0, 1, 2), redraw=True)
    sets = read_training_sets(run)
    sizes = {seed: len(chosen.test) for seed, chosen in sets.items()}
    assert len(set(sizes.values())) > 1
    assert [len(set(s.test)) for s in sets.values()] == list(sizes.values())
    assert len({frozenset(s.test) for s in sets.values()}) > 1
    labels = patients.catalogue["class"].to_numpy()
    right: dict[str, dict[str, list[bool]]] = {"none": {}, "oversample": {}}
    for cell in read_cells(run):
        for image, answer in zip(sets[cell.seed].test, cell.best.test.predictions, strict=True):
            truth = labels[patients.rows[image]]
            right[cell.arm].setdefault(image, []).append(patients.classes[answer] == truth)
    expected = {
        image: (float(np.mean(right["oversample"][image])), float(np.mean(got)), len(got))
        for image, got in right["none"].items()
        if np.mean(right["oversample"][image]) != np.mean(got)
    }
    disagreements, tested = find_disagreements(
        read_cells(run), sets, patients, "oversample", "none"
    )
    assert {d.image: (d.first, d.second, d.seeds) for d in disagreements} == expected
    assert tested == len({image for s in sets.values() for image in s.test})
    page_of(run, "pets")
    results = read_json(run / "result" / "results.json")
    assert [sum(facts["test"].values()) for facts in results["sets"]] == list(sizes.values())
    report = (run / "result" / "report.html").read_text()
    assert "The training set of seed 0" in report


def test_shares_are_of_the_seeds_that_tested_an_image(
    workspace: Workspace, patients: Dataset
) -> None:
    """By hand: image b is tested at both seeds, a and c at one each."""
    base = open_set(workspace, "pets")
    a, b, c = patients.catalogue["image"].tolist()[:3]
    sets = {
        seed: base.model_copy(update={"test": test}) for seed, test in enumerate([(a, b), (b, c)])
    }
    truth = [base.classes.index(patients.catalogue["class"].tolist()[k]) for k in range(3)]
    wrong = [1 - t for t in truth]

    def cell(arm: str, seed: int, predictions: list[int]) -> CellRecord:
        labels = [truth[seed], truth[seed + 1]]
        return cell_record(arm, seed, labels=labels, predictions=predictions)

    cells = [
        cell("none", 0, [wrong[0], wrong[1]]),
        cell("focal", 0, [truth[0], truth[1]]),
        cell("none", 1, [truth[1], truth[2]]),
        cell("focal", 1, [truth[1], wrong[2]]),
    ]
    disagreements, tested = find_disagreements(cells, sets, patients, "focal", "none")
    assert tested == 3
    assert [(d.image, d.first, d.second, d.seeds) for d in disagreements] == [
        (a, 1.0, 0.0, 1),
        (b, 1.0, 0.5, 2),
        (c, 0.0, 1.0, 1),
    ]


def test_results_of_another_version_are_computed_again(
    workspace: Workspace, phantom: Dataset
) -> None:
    """Their bootstrap intervals were too narrow, and their sentence said more than they showed."""
    run = compared(workspace, set="phantom", seeds=(0, 1, 2))
    expected = read_json(run / "result" / "results.json")
    old = {k: v for k, v in expected.items() if k not in ("statistics", "proven_gain", "sets")}
    old["answer"] = "oversample raises macro-F1 by 12.2 points (95 %: 11.7 to 12.7, p = 0.027)"
    old["results"] = [
        {k: v for k, v in row.items() if k not in ("reference", "free", "validation_scores")}
        | {"gain_interval": [11.7, 12.7]}
        for row in expected["results"]
    ]
    write_json(run / "result" / "results.json", old)
    findings = read_results(workspace, run)
    assert findings is not None
    assert [row.model_dump(mode="json") for row in findings.results] == expected["results"]
    assert [getattr(findings, k) for k in ("answer", "proven_gain")] == [
        expected[k] for k in ("answer", "proven_gain")
    ]
    assert findings.outdated
    shown = displayed_result(workspace, view_run(run))
    assert shown["answer"] == expected["answer"]
    app = page_of(run, "phantom")
    assert "Download the report" not in [b.label for b in app.get("download_button")]
    assert "11.7" not in " ".join(e.value for e in [*app.success, *app.info])


def test_cells_of_an_earlier_version_are_measured_again_where_a_class_is_absent(
    workspace: Workspace, no_bird_tests: Dataset
) -> None:
    run = compared(workspace, arms=("none",))
    expected = read_json(run / "result" / "results.json")
    (path,) = (run / "result" / "cells").glob("*.json")
    cell = read_json(path)
    test = cell["best"]["test"]
    test |= {"macro_f1": 0.01, "balanced_accuracy": 0.01, "auroc": 0.3, "recall": [0.5, 0.0, 0.5]}
    write_json(path, cell)
    write_json(run / "result" / "results.json", {**expected, "statistics": 1})
    findings = read_results(workspace, run)
    assert findings is not None
    (row,), (before,) = findings.results, expected["results"]
    for name in ("macro_f1", "balanced_accuracy", "recall", "precision"):
        assert row.model_dump()[name] == pytest.approx(before[name])
    assert row.measures["auroc"] is None  # the probabilities are not kept
    assert findings.answer == expected["answer"]


SPOILT: list[tuple[str, Any]] = [
    ("result/results.json", lambda value: []),
    ("result/results.json", lambda value: {**value, "results": [{}]}),
    ("result/results.json", lambda value: {k: v for k, v in value.items() if k != "answer"}),
    ("result/classifiers/*/cell.json", lambda value: {}),
    ("set.json", lambda value: {**value, "test": ["nobody.png", *value["test"][1:]]}),
    ("set.json", lambda value: {**value, "fingerprint": "f" * 64}),
    ("result/cells/*.json", lambda value: {k: v for k, v in value.items() if k != "best"}),
    ("result/cells/*.json", lambda value: []),
]


def test_a_comparison_edited_by_hand_is_one_sentence(
    workspace: Workspace, phantom: Dataset
) -> None:
    run = compared(workspace, set="phantom")
    for file, spoil in SPOILT:
        path = next(run.glob(file))
        sound = path.read_bytes()
        write_json(path, spoil(read_json(path)))
        app = page_of(run, "phantom")
        errors = [e.value for e in app.error]
        assert any("damaged" in e or "make the set again" in e for e in errors), (file, errors)
        assert "Export the rebalanced training set" in [s.value for s in app.subheader]
        if path.parent.name != "cells":
            path.write_bytes(sound)
    # another comparison that could take the damaged cell trains it instead
    other = compared(workspace, set="phantom", reuse=True)
    assert len(read_cells(other)) == 2


def test_predictions_of_other_images_are_refused(workspace: Workspace, phantom: Dataset) -> None:
    run = compared(workspace, set="phantom")
    cells = read_cells(run)
    cells[0].best.test.predictions.pop()
    with pytest.raises(UserError, match="predictions that are not those of the test images"):
        find_disagreements(cells, read_training_sets(run), phantom, "none", "oversample")
    config = read_json(run / "run.json")
    write_json(run / "run.json", {**config, "config": {**config["config"], "redraw": True}})
    with pytest.raises(UserError, match=r"set-0\.json does not exist"):
        read_training_sets(run)


def test_images_of_unknown_origin_are_marked_in_answer_and_report(
    workspace: Workspace, phantom: Dataset
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom")
    path = workspace.synthetic / name / "provenance.json"
    write_json(path, {**read_json(path), "training": None})  # its generator has no record
    run = compared(workspace, set="phantom", arms=("none", "ddpm"))
    results = read_json(run / "result" / "results.json")
    assert results["answer"].endswith(
        "Unverified: the images of ddpm, 5, always are of unknown origin; whether their generator "
        "was trained on other images too is not known."
    )
    report = (run / "result" / "report.html").read_text()
    assert "ddpm trained on phantom (run none), which is unverified" in report
    assert "<b>Of unknown origin</b>" in report
    assert open_dataset(workspace, "phantom").name == "phantom"
