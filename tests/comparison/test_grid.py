"""A grid of cells: isolated failures, reuse of finished cells, training sets drawn per seed, the
kept classifier, the report and timing."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cell_records import cell_record
from safetensors.torch import load_file, save_file
from sets import synthetic_set
from test_study import CLASSIFIER, logged

from rebalance_core.classifiers.loading import load_classifier
from rebalance_core.classifiers.losses import adjust_probabilities
from rebalance_core.classifiers.metrics import measure
from rebalance_core.classifiers.training import predict_rounded, train_classifier
from rebalance_core.comparison.cells import check_compare, save_set_of_seed, set_of_seed
from rebalance_core.comparison.classify import (
    ClassifyConfig,
    classify,
    export_classifier,
    find_kept_classifier,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.disagreements import find_disagreements
from rebalance_core.comparison.job import cell_states, compare_job, live_curves
from rebalance_core.comparison.records import CellRecord, read_cells
from rebalance_core.comparison.report import from_report
from rebalance_core.comparison.statistics import SIGNIFICANT
from rebalance_core.comparison.timing import (
    START,
    TimingConfig,
    count_shown_images,
    estimate,
    time_steps,
    timing_config,
)
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json, write_bytes, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import TrainingSet, make_set, open_set
from rebalance_core.workspace import Workspace

TINY = {**CLASSIFIER, "network": "nets:tiny", "epochs": 3}


def config_of(**changes: Any) -> CompareConfig:
    values = {
        "set": "phantom",
        "arms": ("none",),
        "amounts": "10",
        "schedules": ("always",),
        "classifier": TINY,
        **changes,
    }
    return CompareConfig.from_preset("quick", **values)


def run_of(workspace: Workspace, config: CompareConfig) -> RunDirectory:
    dumped = config.model_dump(mode="json")
    return RunDirectory(create_run(workspace, "compare", dumped, name="tiny"))


def finished(workspace: Workspace, **changes: Any) -> Path:
    run = run_of(workspace, config_of(**changes))
    compare_job(workspace, run)
    return run.path


def test_a_failed_cell_does_not_stop_others_and_is_retried_alone(
    workspace: Workspace, phantom: Dataset
) -> None:
    classifier = {**TINY, "network": "nets:fourth_broken"}
    run = run_of(workspace, config_of(arms=("none", "focal", "augment"), classifier=classifier))
    with pytest.raises(UserError) as excinfo:
        compare_job(workspace, run)
    assert str(excinfo.value) == (
        "1 of 3 classifiers failed, first focal: The classifier's loss became nan; a smaller lr "
        "helps. Resume trains these again; the others' results are kept."
    )
    results = read_json(run.path / "result" / "results.json")
    assert [row["arm"] for row in results["results"]] == ["none", "augment"]
    assert results["answer"].endswith("1 classifier failed and is missing here.")
    cells, states = cell_states(run.path, live_curves(read_metrics(run.path)))
    assert [states[c.cell] for c in cells] == ["done", "failed", "done"]
    before = {p: p.stat().st_mtime_ns for p in (run.path / "result" / "cells").iterdir()}
    again = RunDirectory(run.path)
    compare_job(workspace, again)  # a process makes only one fourth network
    assert {p: p.stat().st_mtime_ns for p in before} == before
    results = read_json(run.path / "result" / "results.json")
    assert [row["arm"] for row in results["results"]] == ["none", "focal", "augment"]
    assert results["failed"] == 0
    # the curve of what failed makes way for that of what was trained again
    lines = live_curves(read_metrics(run.path))
    assert len(lines) == 9
    assert len({(m["cell"], m["epoch"]) for m in lines}) == 9


def test_a_cell_finished_in_another_comparison_is_not_trained_again(
    workspace: Workspace, phantom: Dataset
) -> None:
    first = finished(workspace)
    second = finished(workspace, arms=("none", "oversample"))
    none, over = read_cells(second)
    assert none.taken_from == first.name
    assert over.taken_from is None
    (own,) = read_cells(first)
    assert none.curve == own.curve
    assert [m["step"] for m in logged(second)] == [1, 2, 3, 4, 5, 6]
    other = finished(workspace, classifier={**TINY, "lr": 0.02})
    assert read_cells(other)[0].taken_from is None
    assert read_cells(finished(workspace, reuse=False))[0].taken_from is None


def test_each_seed_draws_its_own_skew_and_takes_images_that_saw_only_that(
    workspace: Workspace, phantom: Dataset
) -> None:
    make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:10"))
    redrawn = {"set": "rare", "seeds": (0, 1), "redraw": True}
    drawn = set_of_seed(workspace, "rare", 1)
    assert (drawn.name, drawn.config.seed) == ("rare-seed1", 1)
    assert set_of_seed(workspace, "rare", 0) == open_set(workspace, "rare")
    with pytest.raises(UserError) as excinfo:
        check_compare(workspace, config_of(arms=("none", "ddpm"), **redrawn))
    assert "no images of ddpm for training set rare" in str(excinfo.value)
    assert not (workspace.sets / "rare-seed1.json").exists()
    assert save_set_of_seed(workspace, "rare", 1) == drawn
    names = [synthetic_set(workspace, "ddpm", name) for name in ("rare", "rare-seed1")]
    run = finished(workspace, arms=("none", "ddpm"), **redrawn)
    by_seed = {c.seed: c.synthetic for c in read_cells(run) if c.arm == "ddpm"}
    assert by_seed == dict(enumerate(names))
    results = read_json(run / "result" / "results.json")
    assert results["answer"].startswith(
        "With 2 seeds (generator redrawn each time) nothing can be "
    )
    assert [facts["seed"] for facts in results["sets"]] == [0, 1]
    seen = read_json(run / "set-1.json")["train"]
    assert sorted(seen) == sorted(drawn.train)
    # a set of that name which is another
    make_set(workspace, "rare-seed2", SetConfig(dataset="phantom", skew="step:5"))
    with pytest.raises(UserError, match="rare-seed2 is not rare drawn with seed 2"):
        set_of_seed(workspace, "rare", 2)


def test_the_answer_is_true_of_the_numbers_of_a_real_study(
    workspace: Workspace, phantom: Dataset
) -> None:
    run = finished(workspace, arms=("none", "oversample", "focal"), seeds=(0, 1, 2))
    results = read_json(run / "result" / "results.json")
    by_arm = {row["arm"]: row for row in results["results"]}
    scores = {arm: [c.best.test.primary for c in read_cells(run) if c.arm == arm] for arm in by_arm}
    for arm, row in by_arm.items():
        assert row["macro_f1"] == pytest.approx(np.mean(scores[arm]))
        if arm != "none":
            gain = 100 * np.mean(np.subtract(scores[arm], scores["none"]))
            assert row["gain"] == pytest.approx(gain)
    clear = [
        r
        for r in by_arm.values()
        if r["p_corrected"] is not None and r["p_corrected"] < SIGNIFICANT
    ]
    if clear:
        for row in clear:
            word = "raises" if row["gain"] > 0 else "lowers"
            assert f"{row['arm']} {word} macro-F1 by {abs(row['gain']):.1f}" in results["answer"]
    else:
        assert results["answer"].startswith("Against the baseline, ")
        assert "with 3 seeds" in results["answer"] or "cannot be tested" in results["answer"]


def test_a_study_runs_again_from_its_report(workspace: Workspace, phantom: Dataset) -> None:
    make_set(workspace, "rare", SetConfig(dataset="phantom", skew="step:10"))
    run = finished(workspace, set="rare")
    for file in ("report.html", "results.json"):
        assert from_report(workspace, run / "result" / file) == config_of(set="rare")
    (workspace.sets / "rare.json").unlink()
    assert from_report(workspace, run / "result" / "report.html").set == "rare"
    assert open_set(workspace, "rare").config.skew == "step:10"  # made again
    results = read_json(run / "result" / "results.json")
    other = workspace.root / "other.json"
    write_json(other, {**results, "fingerprint": "f" * 64})
    with pytest.raises(UserError, match=r"Dataset phantom is not the one of other\.json"):
        from_report(workspace, other)
    write_json(other, {**results, "training_set": {"dataset": "phantom", "skew": "step:3"}})
    with pytest.raises(UserError, match="Training set rare is not the one of"):
        from_report(workspace, other)
    for text in ("nonsense", "[1]", "{}"):
        other.write_text(text)
        with pytest.raises(UserError, match="is not a comparison report; choose a report or"):
            from_report(workspace, other)


def test_the_numbers_can_be_taken_away_as_tables(workspace: Workspace, phantom: Dataset) -> None:
    run = finished(workspace, arms=("none", "focal"))
    with (run / "result" / "cells.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    cells = read_cells(run)
    assert [line["arm"] for line in lines] == ["none", "focal"]
    for line, cell in zip(lines, cells, strict=True):
        assert float(line["test_macro_f1"]) == cell.best.test.primary
    with (run / "result" / "curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    assert [(line["arm"], int(line["epoch"])) for line in curves] == [
        (arm, epoch) for arm in ("none", "focal") for epoch in (1, 2, 3)
    ]
    assert float(curves[0]["train_loss"]) == cells[0].curve[0].model_dump()["train_loss"]


def test_pictures_that_two_arms_tell_apart(workspace: Workspace, phantom: Dataset) -> None:
    chosen = open_set(workspace, "phantom")
    labels = phantom.catalogue["class"].to_numpy()
    truth = [chosen.classes.index(labels[phantom.rows[i]]) for i in chosen.test]
    wrong = [(n + 1) % 4 for n in truth]

    def cell(arm: str, seed: int, right: set[int]) -> CellRecord:
        pairs = enumerate(zip(truth, wrong, strict=True))
        return cell_record(
            arm, seed, labels=truth, predictions=[t if k in right else w for k, (t, w) in pairs]
        )

    cells = [
        cell("none", 0, {0, 1}),
        cell("none", 1, {0, 2}),
        cell("focal", 0, {0, 2, 3}),
        cell("focal", 1, {0, 3}),
        cell("focal", 2, set()),
    ]
    sets = dict.fromkeys(range(3), chosen)
    disagreements, tested = find_disagreements(cells, sets, phantom, "focal", "none")
    assert tested == len(chosen.test)
    assert [(d.image, d.first, d.second) for d in disagreements] == [
        (chosen.test[3], 1.0, 0.0),
        (chosen.test[1], 0.0, 0.5),
    ]
    assert disagreements[0].label == labels[phantom.rows[chosen.test[3]]]
    assert find_disagreements(cells, sets, phantom, "focal", "augment") == ([], 0)


@pytest.fixture
def compared(workspace: Workspace, phantom: Dataset) -> Path:
    return finished(workspace, arms=("none", "augment"), classifier={**CLASSIFIER, "epochs": 2})


def test_the_classifier_best_on_validation_is_kept_and_used(
    workspace: Workspace, compared: Path, tmp_path: Path
) -> None:
    scores = {c.cell: c.best.validation_macro_f1 for c in read_cells(compared)}
    _, folder, kept = find_kept_classifier(workspace, compared.name)
    assert scores[kept.cell] == max(scores.values())
    assert len(list(folder.parent.iterdir())) == 1
    # it predicts a test image's class as it did when it was measured
    chosen = TrainingSet.from_json(read_json(compared / "set.json"))
    dataset = open_dataset(workspace, "phantom")
    cell = next(c for c in read_cells(compared) if c.cell == kept.cell)
    paths = []
    for number, image in enumerate(chosen.test[:6]):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(dataset.read_original(image))
    predictions = classify(
        workspace, ClassifyConfig(run=compared.name, images=tuple(map(str, paths)))
    )
    said = [chosen.classes.index(p["class"]) for p in predictions]
    assert said == cell.best.test.predictions[:6]
    assert sum(predictions[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    target = tmp_path / "taken"
    assert export_classifier(workspace, compared.name, target)["label"] == kept.label
    assert sorted(p.name for p in target.iterdir()) == [
        "README.md",
        "cell.json",
        "config.json",
        "model.safetensors",
    ]
    assert load_classifier(target).classes == list(chosen.classes)


def test_what_is_not_an_image_or_classifier_is_refused(
    workspace: Workspace, compared: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("no image")
    with pytest.raises(UserError, match=r"fake\.png cannot be read as an image"):
        classify(workspace, ClassifyConfig(run=compared.name, images=(str(fake),)))
    _, folder, _ = find_kept_classifier(workspace, compared.name)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "network": "os:system"})
    with pytest.raises(UserError, match="which is code and not run from a folder"):
        load_classifier(folder)
    write_json(folder / "config.json", config)
    file = folder / "model.safetensors"
    # copied, since the file that is mapped into memory is overwritten
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    file.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="does not contain a readable classifier"):
        load_classifier(folder)
    save_file({**weights, name: torch.full_like(weights[name], torch.nan)}, file)
    with pytest.raises(UserError, match=f"{name} contains NaN or infinity"):
        load_classifier(folder)
    other = create_run(workspace, "timing", {}, name="other")
    with pytest.raises(UserError, match="is not a comparison that kept a classifier"):
        find_kept_classifier(workspace, other.name)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet99", "network 'resnet99' cannot be used"),
        ("nets:no_network", "returns a str, not a torch.nn.Module"),
        ("nets:missing", "network 'nets:missing' cannot be used"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("alexnet", "network 'alexnet' cannot be used for images of 32 px"),
    ],
)
def test_a_network_that_does_not_work_is_one_sentence(
    workspace: Workspace, phantom: Dataset, network: str, message: str
) -> None:
    run = run_of(workspace, config_of(classifier={**TINY, "network": network}))
    with pytest.raises(UserError) as excinfo:
        compare_job(workspace, run)
    assert message in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def test_synthetic_sets_that_do_not_fit_are_refused(workspace: Workspace, phantom: Dataset) -> None:
    def refused(arms: tuple[str, ...], message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_compare(workspace, config_of(arms=arms))

    refused(("none", "own"), "'own' is neither an arm nor a synthetic set; arms are none, augment")
    name = synthetic_set(workspace, "own", "phantom")
    assert name == "phantom-own"
    assert len(check_compare(workspace, config_of(arms=("none", name)))) == 2
    folder = workspace.synthetic / name
    colour = np.zeros((32, 32, 3), np.uint8)
    write_bytes(folder / "glioma" / "000000.png", png_bytes(colour))
    refused((name,), r"has images of 3 channel\(s\), the dataset of 1")
    small = png_bytes(np.zeros((16, 16, 1), np.uint8))
    write_bytes(folder / "glioma" / "000000.png", small)
    with pytest.raises(UserError, match=r"is 32 × 32 px in 1 channel\(s\) unlike the other"):
        compare_job(workspace, run_of(workspace, config_of(arms=(name,))))
    (folder / "glioma" / "000000.png").unlink()
    refused((name,), "should have 10 images of glioma, but has 9")
    about = read_json(folder / "provenance.json")
    write_json(folder / "provenance.json", {**about, "counts": {"cat": 10}})
    refused((name,), "has images of cat, which are not classes of training set phantom")


def test_a_class_without_training_images_is_refused(workspace: Workspace, phantom: Dataset) -> None:
    made = make_set(workspace, "edited", SetConfig(dataset="phantom", skew="step:5"))
    content = made.to_json()
    labels = dict(zip(phantom.catalogue["image"], phantom.catalogue["class"], strict=True))
    content["train"] = [image for image in content["train"] if labels[image] != "glioma"]
    content["counts"]["glioma"] = 0
    write_json(workspace.sets / "edited.json", content)
    with pytest.raises(UserError, match="holds no image of glioma; a classifier cannot learn it"):
        check_compare(workspace, config_of(set="edited"))


def test_the_time_is_estimated_from_timed_steps(workspace: Workspace, phantom: Dataset) -> None:
    config = config_of(arms=("none", "oversample"))
    cells = check_compare(workspace, config)
    assert estimate(workspace, config, cells) is None
    timing = timing_config(workspace, config)
    assert (timing.channels, timing.classes, timing.classifier["network"]) == (1, 4, "nets:tiny")
    rates = time_steps(timing, MemoryRun())
    assert set(rates) == {"train", "evaluate"}
    assert min(rates.values()) > 0
    made = create_run(workspace, "timing", timing.model_dump(mode="json"), name="timed")
    write_json(made / "result" / "result.json", {"train": 0.5, "evaluate": 0.125})
    write_json(made / "state.json", {**read_json(made / "state.json"), "status": "done"})
    chosen = open_set(workspace, "phantom")
    plain, over = sum(chosen.counts.values()), 4 * max(chosen.counts.values())
    classifier = config.classifier
    assert [count_shown_images(c, chosen.counts, classifier) for c in cells] == [
        3 * plain,
        3 * over,
    ]
    evaluated = 3 * len(chosen.validation) + len(chosen.test)
    expected = START + 0.5 * 3 * (plain + over) + 2 * 0.125 * evaluated
    assert estimate(workspace, config, cells) == pytest.approx(expected)
    slower = config_of(classifier={**TINY, "size": 64})
    assert estimate(workspace, slower, check_compare(workspace, slower)) is None


def test_images_shown_follow_schedule_and_sampler(workspace: Workspace, phantom: Dataset) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    config = config_of(
        arms=("ddpm", "undersample+ddpm"), schedules=("until:1", "pretrain:1", "real-every:2")
    )
    counts = {"glioma": 10, "meningioma": 10, "notumor": 60, "pituitary": 10}
    cells = check_compare(workspace, config)
    shown = [count_shown_images(c, counts, config.classifier) for c in cells]
    # 10 added to each of three classes: 120 with them, 90 without
    assert shown == [
        120 + 2 * 90,
        (60 + 30) + 2 * 90,
        90 + 120 + 90,
        80 + 2 * 40,
        40 + 2 * 40,
        40 + 80 + 40,
    ]


def test_with_a_budget_of_updates_every_arm_sees_as_many_images(
    workspace: Workspace, phantom: Dataset
) -> None:
    """Three epochs of 4 classes with 48 images each, in batches of 16: 12 updates per epoch."""
    synthetic_set(workspace, "ddpm", "phantom")
    run = finished(
        workspace,
        arms=("none", "oversample", "undersample", "ddpm"),
        schedules=("always", "until:1"),
        classifier={**TINY, "budget": "updates"},
    )
    assert max(open_set(workspace, "phantom").counts.values()) == 48
    cells = read_cells(run)
    assert len(cells) == 5
    assert {tuple((e.updates, e.images) for e in cell.curve) for cell in cells} == {
        ((12, 192), (24, 384), (36, 576))
    }
    rows = read_json(run / "result" / "results.json")["results"]
    assert {(row["updates"], row["images_seen"]) for row in rows} == {(36, 576)}
    planned = check_compare(workspace, config_of(classifier={**TINY, "budget": "updates"}))
    counts = open_set(workspace, "phantom").counts
    config = config_of(classifier={**TINY, "budget": "updates"}).classifier
    assert [count_shown_images(cell, counts, config) for cell in planned] == [576]


def test_test_predictions_are_made_after_the_last_cell_and_kept(
    workspace: Workspace, phantom: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    config = config_of(arms=("none", "oversample", "ddpm"), seeds=(0, 1))
    run = run_of(workspace, config)
    seen: list[tuple[int, int, bool]] = []

    def spy(*arguments: Any) -> np.ndarray:
        trained = len(list((run.result / "trained").glob("*.json")))
        finished_cells = len(list((run.result / "cells").glob("*.json")))
        seen.append((trained, finished_cells, (run.result / "primary.json").exists()))
        return predict_rounded(*arguments)

    monkeypatch.setattr("rebalance_core.classifiers.training.predict_rounded", spy)
    compare_job(workspace, run)
    assert seen == [(6 - k, k, True) for k in range(6)]
    assert not (run.result / "trained").exists()
    assert not [key for line in logged(run.path) for key in line if key.startswith("test_")]
    assert read_json(run.result / "primary.json") == {
        "primary": "ddpm, 10, always",
        "rule": "validation",
        "measure": "macro_f1",
        "margin": 2.0,
        "against": None,
        "exploratory": [],
    }
    test = load_part(phantom, open_set(workspace, "phantom"), "test", 32)
    for cell in read_cells(run.path):
        with np.load(run.result / "cells" / f"{cell.cell}.npz") as kept:
            probabilities, images = kept["probabilities"], kept["images"].tolist()
        assert probabilities.dtype == np.float16
        assert probabilities.shape == (30, 4)
        assert tuple(images) == test.ids
        values = measure(probabilities.astype(np.float32), test.labels, (0, 1, 3))
        assert values["predictions"] == cell.best.test.predictions
        assert values["nll"] == pytest.approx(cell.best.test.measures["nll"])
        assert values["rare_recall"] == cell.best.test.measures["rare_recall"]


def test_logit_adjustment_after_training_trains_nothing(
    workspace: Workspace, phantom: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real_train = train_classifier

    def count(*arguments: Any, **named: Any) -> Any:
        trained.append(1)
        return real_train(*arguments, **named)

    monkeypatch.setattr("rebalance_core.classifiers.training.train_classifier", count)
    run = finished(workspace, arms=("none", "logit-adjusted-after"), seeds=(0, 1))
    assert len(trained) == 2
    by_arm = {(c.arm, c.seed): c for c in read_cells(run)}
    counts = [open_set(workspace, "phantom").counts[label] for label in phantom.classes]
    for seed in (0, 1):
        plain, adjusted = by_arm["none", seed], by_arm["logit-adjusted-after", seed]
        assert plain.best.epoch == adjusted.best.epoch
        assert plain.curve == adjusted.curve
        kept = {}
        for cell in (plain, adjusted):
            with np.load(run / "result" / "cells" / f"{cell.cell}.npz") as file:
                kept[cell.arm] = file["probabilities"].astype(np.float32)
        expected = adjust_probabilities(kept["none"], counts)
        assert kept["logit-adjusted-after"] == pytest.approx(expected, abs=2e-3)
    # alone, it trains the baseline first
    trained.clear()
    finished(workspace, arms=("logit-adjusted-after",), seeds=(5,))
    assert len(trained) == 1


def test_a_primary_arm_chosen_when_test_predictions_were_known_is_exploratory(
    workspace: Workspace, phantom: Dataset
) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    arms = ("none", "ddpm")
    finished(workspace, arms=arms, seeds=(0, 1, 2))
    again = read_json(finished(workspace, arms=arms, seeds=(0, 1, 2)) / "result" / "primary.json")
    assert again["exploratory"] == [
        "the primary arm was chosen when test predictions of reused classifiers were known"
    ]
    run = finished(workspace, arms=arms, seeds=(0, 1, 2, 3), primary="ddpm")
    more = read_json(run / "result" / "primary.json")
    assert (more["primary"], more["rule"]) == ("ddpm, 10, always", "named")
    assert more["exploratory"] == ["seeds were added to an earlier comparison"]
    answer = read_json(run / "result" / "results.json")["answer"]
    assert "This is exploratory: seeds were added to an earlier comparison." in answer
    named = finished(workspace, arms=arms, seeds=(7, 8, 9), primary="ddpm", margin=5.0)
    assert read_json(named / "result" / "primary.json")["exploratory"] == []


def test_timing_config_survives_json() -> None:
    values = {"channels": 1, "classes": 4, "classifier": {"size": 32}}
    assert TimingConfig.build(**values) == TimingConfig.build(**json.loads(json.dumps(values)))
