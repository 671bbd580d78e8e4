"""Scores without groups of test images, the claim on a real comparison, and where it holds."""

from pathlib import Path

import numpy as np
import pytest
from cell_records import cell_record
from sets import synthetic_set
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss
from test_grid import TINY, config_of, finished

from rebalance_core.classifiers.measures import find_measure
from rebalance_core.classifiers.metrics import (
    accuracy_of,
    auprc,
    balanced_accuracy_of,
    brier,
    macro_f1_of,
    measure,
    nll,
    recall_at_specificity,
)
from rebalance_core.comparison.cells import check_compare, save_set_of_seed, set_of_seed
from rebalance_core.comparison.contrasts import make_claim
from rebalance_core.comparison.records import Planned, read_cells
from rebalance_core.comparison.results import make_rows, read_results, score_arms
from rebalance_core.comparison.scores import (
    BLOCKS,
    TestImages,
    read_probabilities,
    read_test_images,
    score_cell,
)
from rebalance_core.comparison.subsets import class_masks, near_masks, subset_gains
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

GROUPS = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12, 13, 14, 14])


def images_of(labels: list[int], groups: np.ndarray = GROUPS) -> TestImages:
    return TestImages(np.array(labels), groups, (1,), 100)


def test_a_score_without_each_group_is_scikit_learns_on_the_other_images() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 20).tolist(), rng.integers(0, 3, 20).tolist()
    cell = cell_record("none", 0, labels=labels, predictions=predictions, recall=(1.0, 0.5, 0.0))
    score = score_cell(cell, images_of(labels), find_measure("macro_f1"), None)
    assert score.left_out is not None
    assert len(score.left_out) == 15
    for group, value in enumerate(score.left_out):
        kept = group != GROUPS
        y, p = np.array(labels)[kept], np.array(predictions)[kept]
        expected = f1_score(y, p, labels=np.unique(y), average="macro", zero_division=0)
        assert value == pytest.approx(100 * expected)


def test_measures_of_a_confusion_matrix_are_those_of_the_predictions() -> None:
    rng = np.random.default_rng(1)
    for classes in (2, 4, 7):
        probabilities = rng.dirichlet(np.ones(classes), 60)
        labels = rng.integers(0, max(2, classes - 1), 60)  # the last class may be absent
        values = measure(probabilities, labels)
        confusion = np.array(values["confusion"])
        assert float(macro_f1_of(confusion)) == pytest.approx(values["macro_f1"])
        assert float(accuracy_of(confusion)) == pytest.approx(values["accuracy"])
        assert float(balanced_accuracy_of(confusion)) == pytest.approx(values["balanced_accuracy"])


def test_scores_of_probabilities_are_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    probabilities, labels = rng.dirichlet(np.ones(3), 80), rng.integers(0, 3, 80)
    one_hot = np.eye(3)[labels]
    assert nll(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))
    expected = sum(brier_score_loss(one_hot[:, c], probabilities[:, c]) for c in range(3))
    assert brier(probabilities, labels) == pytest.approx(expected)
    precision = [average_precision_score(one_hot[:, c], probabilities[:, c]) for c in range(3)]
    assert auprc(probabilities, labels) == pytest.approx(np.mean(precision))
    assert auprc(probabilities, np.zeros(80, int)) is None
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-np.log(1e-7))


def test_recall_at_a_fixed_specificity_by_hand() -> None:
    """40 others: 2 may be above the threshold, so it is the third highest of them, 0.38."""
    others = np.arange(40) / 100 + 0.01  # 0.01 to 0.40
    rare = np.array([0.1, 0.38, 0.39, 0.5])  # two above 0.38
    of_rare = np.concatenate([others, rare])
    probabilities = np.stack([1 - of_rare, of_rare], axis=1)
    labels = np.array([0] * 40 + [1] * 4)
    assert recall_at_specificity(probabilities, labels, (1,)) == 0.5
    assert recall_at_specificity(probabilities, labels, (2,)) is None
    both = recall_at_specificity(probabilities, labels)
    assert both is not None
    assert both != 0.5


def test_a_measure_of_probabilities_is_left_out_in_blocks() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 250)
    probabilities = rng.dirichlet(np.ones(2), 250)
    images = TestImages(labels, np.arange(250), (1,), 500)
    predictions = probabilities.argmax(axis=1).tolist()
    cell = cell_record("none", 0, labels=labels.tolist(), predictions=predictions)
    cell = cell.model_copy(
        update={
            "best": cell.best.model_copy(
                update={
                    "test": cell.best.test.model_copy(
                        update={"measures": {"macro_f1": 0.5, "auprc": 0.5}}
                    )
                }
            )
        }
    )
    score = score_cell(cell, images, find_measure("auprc"), probabilities)
    assert score.left_out is not None
    assert len(score.left_out) == BLOCKS
    kept = np.arange(250) % BLOCKS != 7
    assert score.left_out[7] == pytest.approx(100 * auprc(probabilities[kept], labels[kept]))


def test_copies_and_patients_are_one_group(workspace: Workspace, tmp_path: Path) -> None:
    pictures = draw_phantoms(np.zeros(24, int), np.arange(24) % 3, size=64, seed=0)
    lines = ["path,label,split,group"]
    for k, picture in enumerate(pictures):
        split = "train" if k < 12 else "test"
        (tmp_path / f"{k}.png").write_bytes(png_bytes(picture))
        lines.append(f"{k}.png,{'ab'[k % 2]},{split},{'p' if k in (20, 22) else ''}")
    (tmp_path / "copy.png").write_bytes(png_bytes(pictures[14][:, ::-1]))
    lines.append("copy.png,a,test,")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    source = ImportConfig(name="made", source=str(tmp_path / "t.csv"))
    dataset = import_dataset(workspace, source, MemoryRun())
    training_set = open_set(workspace, "made")
    tests = read_test_images(dataset, {0: training_set})[0]
    of = dict(zip(training_set.test, tests.groups.tolist(), strict=True))
    assert of["20.png"] == of["22.png"]
    assert of["14.png"] == of["copy.png"]
    assert len(set(of.values())) == 11  # 13 images less one copy and one of the patient


def test_the_claim_of_a_real_comparison_covers_test_images(
    workspace: Workspace, phantom: Dataset
) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    run = finished(workspace, arms=("none", "oversample", "ddpm"), seeds=(0, 1, 2))
    findings = read_results(workspace, run)
    assert findings is not None
    claim = findings.claim
    assert claim is not None
    assert claim.primary == "ddpm, 10, always"
    assert set(claim.against) == {"none", "oversample"}
    assert claim.groups == 30
    assert claim.missing == ["augment+oversample", "logit-adjusted-after"]
    assert not findings.proven_gain
    assert "intervals cover seeds and test images" in findings.answer
    names = [subset.name for subset in findings.subsets]
    assert names[:4] == [f"class {label}" for label in phantom.classes]
    assert {"pose axial", "pose coronal", "pose sagittal"} <= set(names)
    # on the images of one class, the accuracy is the recall of the row
    rows = {row.name: row for row in findings.results}
    for number, subset in enumerate(findings.subsets[:4]):
        for name, accuracy in subset.accuracy.items():
            assert accuracy == pytest.approx(100 * (rows[name].recall[number] or 0.0))
    assert sum(subset.images for subset in findings.subsets[:4]) == 30
    report = (run / "result" / "report.html").read_text()
    assert "Where it helps or hurts" in report
    assert "class glioma" in report
    probabilities = read_probabilities(run, read_cells(run))
    assert len(probabilities) == 9


def test_test_images_with_a_similar_training_image_are_told_apart(
    workspace: Workspace, tmp_path: Path
) -> None:
    pictures = draw_phantoms(np.zeros(40, int), np.arange(40) % 3, size=64, seed=0)
    for k, picture in enumerate(pictures[:30]):
        folder = tmp_path / "s" / "Training" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.png").write_bytes(png_bytes(picture))
    for k, picture in enumerate([*pictures[30:], pictures[0][:, ::-1], pictures[1]]):
        folder = tmp_path / "s" / "Testing" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.png").write_bytes(png_bytes(picture))
    source = ImportConfig(name="made", source=str(tmp_path / "s"))
    dataset = import_dataset(workspace, source, MemoryRun())
    training_set = open_set(workspace, "made")
    masks = near_masks(dataset, {0: training_set})
    similar = {
        image
        for image, is_near in zip(
            training_set.test, masks["similar to a training image"][0], strict=True
        )
        if is_near
    }
    known = {f"Training/{'ab'[k % 2]}/{k}.png" for k in (0, 1)} & set(training_set.train)
    assert similar <= {"Testing/a/10.png", "Testing/b/11.png"}
    assert len(similar) == len(known)  # a copy of a validation image is not similar to training
    assert (masks["not similar to any"][0] == ~masks["similar to a training image"][0]).all()


def test_an_interval_over_seeds_alone_has_no_groups() -> None:
    cells = [cell_record(arm, seed, 0.5 + seed / 10) for arm in ("none", "ddpm") for seed in (0, 1)]
    scores = score_arms(cells)
    claim = make_claim(make_rows(cells, scores=scores), scores, Planned())
    assert claim is not None
    assert claim.groups == 0
    tests = {seed: images_of([0] * 10 + [1] * 10) for seed in (0, 1)}
    gains = subset_gains(cells, claim, tests, class_masks(tests, ("cat", "dog")))
    assert [(each.name, each.images) for each in gains] == [("class cat", 10), ("class dog", 10)]
    assert gains[0].accuracy == {"ddpm, 1.0, always": 100.0, "none": 100.0}


def test_another_measure_is_tested_with_its_own_differences(
    workspace: Workspace, phantom: Dataset
) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    run = finished(
        workspace, arms=("none", "ddpm"), seeds=(0, 1, 2), measure="rare_recall", margin=5.0
    )
    results = read_json(run / "result" / "results.json")
    _, ddpm = results["results"]
    cells = {(c.arm, c.seed): c.best.test.measures["rare_recall"] or 0.0 for c in read_cells(run)}
    expected = [100 * (cells["ddpm", s] - cells["none", s]) for s in (0, 1, 2)]
    assert ddpm["gains"] == pytest.approx(expected)
    assert "points of rare-class recall at 95 % specificity" in results["answer"]
    assert results["claim"]["margin"] == 5.0
    assert results["claim"]["groups"] == 30


@pytest.mark.parametrize("key", ["nll", "brier", "calibration_error", "speed"])
def test_a_measure_that_cannot_be_tested_is_refused(key: str) -> None:
    with pytest.raises(UserError):
        config_of(measure=key)


def test_seeds_with_test_images_of_their_own_are_corrected_for_overlap(
    workspace: Workspace, tmp_path: Path
) -> None:
    pictures = draw_phantoms(np.arange(80) % 4, np.arange(80) % 3, size=32, seed=0)
    for k, picture in enumerate(pictures):
        folder = tmp_path / "s" / "abcd"[k % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.png").write_bytes(png_bytes(picture))
    import_dataset(workspace, ImportConfig(name="n", source=str(tmp_path / "s")), MemoryRun())
    make_set(workspace, "s", SetConfig(dataset="n"))
    drawn = set_of_seed(workspace, "s", 1, new_test=True)
    assert (drawn.name, drawn.config.seed, drawn.config.test_seed) == ("s-split1", 1, 1)
    assert set(drawn.test) != set(open_set(workspace, "s").test)
    assert save_set_of_seed(workspace, "s", 1, new_test=True) == drawn
    values = {"set": "s", "arms": ("none", "oversample"), "seeds": (0, 1, 2)}
    with pytest.raises(UserError, match="Repeated splits need --redraw"):
        check_compare(workspace, config_of(repeat_splits=True, **values))
    run = finished(workspace, redraw=True, repeat_splits=True, **values)
    results = read_json(run / "result" / "results.json")
    row = results["results"][1]
    gains = np.array(row["gains"])
    if row["p"] is not None:
        sets = [read_json(run / f"set-{seed}.json") for seed in (0, 1, 2)]
        overlap = np.mean([len(s["test"]) / len(s["train"]) for s in sets])
        error = np.sqrt(gains.var(ddof=1) * (1 / 3 + overlap))
        low, high = row["gain_interval"]
        assert (high - low) / 2 == pytest.approx(4.302653 * error, rel=1e-4)  # t(0.975, 2)


def test_a_dataset_with_a_test_split_has_no_repeated_splits(
    workspace: Workspace, phantom: Dataset
) -> None:
    with pytest.raises(UserError, match="has a test split of its own, which all seeds share"):
        check_compare(
            workspace, config_of(redraw=True, repeat_splits=True, seeds=(0, 1), classifier=TINY)
        )
