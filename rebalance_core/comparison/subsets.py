"""Where the primary arm helps or hurts: its accuracy on parts of the test images."""

from collections.abc import Mapping, Sequence

import numpy as np

from rebalance_core.comparison.contrasts import contrast_alone
from rebalance_core.comparison.records import CellRecord, Claim, SubsetGain
from rebalance_core.comparison.scores import ArmScores, Score, TestImages
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import has_similar
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.training_sets.resolve import TrainingSet

FEWEST_IMAGES = 10  # of a subset, below which its interval would say nothing
Masks = Mapping[str, Mapping[int, np.ndarray]]  # {subset: {seed: bool (n,) of its test images}}


def subset_gains(
    cells: Sequence[CellRecord], claim: Claim, tests: Mapping[int, TestImages], masks: Masks
) -> list[SubsetGain]:
    """The primary arm's accuracy on each subset, against the closest free arm and the baseline.

    On the images of one class this is its recall. Intervals are not corrected for several subsets.
    """
    gains = []
    for name, by_seed in masks.items():
        scores = {
            row: _scores(cells, row, tests, by_seed) for row in {claim.primary, *claim.against}
        }
        primary = scores[claim.primary].mean()
        images = int(np.mean([mask.sum() for mask in by_seed.values()]))
        if claim.closest is None or primary is None or not images:
            continue
        gain = contrast_alone((claim.primary, claim.closest), scores)
        if images < FEWEST_IMAGES:
            gain = gain.model_copy(update={"interval": None, "p": None, "p_corrected": None})
        gains.append(
            SubsetGain(
                name=name,
                images=images,
                accuracy={
                    row: float(np.mean([s.value for s in arm.by_seed.values()]))
                    for row, arm in scores.items()
                    if arm.by_seed
                },
                gain=gain,
            )
        )
    return gains


def _scores(
    cells: Sequence[CellRecord],
    row: str,
    tests: Mapping[int, TestImages],
    masks: Mapping[int, np.ndarray],
) -> ArmScores:
    """Percent of a subset's images that a row classifies correctly, by seed."""
    by_seed = {}
    for cell in cells:
        if cell.label != row or cell.seed not in tests:
            continue
        images, mask = tests[cell.seed], masks[cell.seed]
        predictions = np.array(cell.best.test.predictions)
        if len(predictions) != len(images.labels) or not mask.any():
            continue
        groups = np.unique(images.groups[mask], return_inverse=True)[1]
        correct = (predictions == images.labels)[mask].astype(float)
        hits, sizes = np.bincount(groups, correct), np.bincount(groups)
        left_out = None
        if len(sizes) > 1:
            left_out = 100 * (hits.sum() - hits) / (sizes.sum() - sizes)
        by_seed[cell.seed] = Score(100 * float(correct.mean()), left_out)
    return ArmScores(by_seed)


def class_masks(tests: Mapping[int, TestImages], classes: Sequence[str]) -> Masks:
    """The test images of each class."""
    return {
        f"class {label}": {seed: images.labels == k for seed, images in tests.items()}
        for k, label in enumerate(classes)
    }


def pose_masks(
    dataset: Dataset, sets: Mapping[int, TrainingSet], poses: Mapping[str, str]
) -> Masks:
    """The test images of each pose; `poses` is {image: pose}, '' where unknown."""
    by_seed = {
        seed: np.array([poses.get(image, "") for image in training_set.test])
        for seed, training_set in sets.items()
    }
    names = sorted(set().union(*(set(values) for values in by_seed.values())) - {""})
    return {
        f"pose {name}" if not name.startswith("pose") else name: {
            seed: values == name for seed, values in by_seed.items()
        }
        for name in names
    }


def near_masks(dataset: Dataset, sets: Mapping[int, TrainingSet]) -> Masks:
    """The test images with and without a similar training image, up to `MAX_DIFFERENCE`."""
    is_near = {
        seed: has_similar(
            dataset,
            [dataset.rows[image] for image in training_set.test],
            [dataset.rows[image] for image in training_set.train],
        )
        for seed, training_set in sets.items()
    }
    return {
        "similar to a training image": is_near,
        "not similar to any": {seed: ~mask for seed, mask in is_near.items()},
    }


def known_poses(dataset: Dataset) -> dict[str, str]:
    """{image: pose}: the true pose where it is known, else that of the current clustering."""
    table = dataset.catalogue
    true = dict(zip(table["image"], table["pose"].astype(str), strict=True))
    if any(true.values()) or not has_clustering(dataset):
        return true
    assignments = open_clustering(dataset).assignments
    return dict(zip(assignments["image"], assignments["pose"], strict=True))
