"""Scores of arms on their test images, and how they change without a group of these."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rebalance_core.classifiers.measures import Measure
from rebalance_core.comparison.records import CellRecord
from rebalance_core.comparison.statistics import Estimate, estimate
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import independent_units
from rebalance_core.runs.spec import load_named
from rebalance_core.training_sets.load import part_labels
from rebalance_core.training_sets.resolve import TrainingSet

BLOCKS = 100  # of groups that are left out together, for measures that are slow to compute


@dataclass(frozen=True)
class TestImages:
    """The test images of one seed: class ids (n,), ids of their groups (n,), minority classes.

    A group is a patient or a group of copies, whose images are not independent.
    """

    __test__ = False  # not a pytest class

    labels: np.ndarray
    groups: np.ndarray
    rare: tuple[int, ...]
    training_images: int


@dataclass(frozen=True)
class Score:
    """A measure on the test images of one seed, in points, and without each group of images."""

    value: float
    left_out: np.ndarray | None = None  # (groups,)


@dataclass(frozen=True)
class ArmScores:
    """The scores of an arm by seed.

    `overlap`: test images per training image, where each seed has test images of its own.
    """

    by_seed: Mapping[int, Score]
    overlap: float | None = None

    def mean(self) -> Estimate | None:
        seeds = list(self.by_seed)
        return self._estimate(seeds, [self.by_seed[s].value for s in seeds], self)

    def differences(self, other: "ArmScores") -> list[float]:
        """Differences to another arm at the seeds that both have, in the order of `self`."""
        return [
            score.value - other.by_seed[seed].value
            for seed, score in self.by_seed.items()
            if seed in other.by_seed
        ]

    def compare(self, other: "ArmScores") -> Estimate | None:
        """The difference to another arm; None below two common seeds."""
        seeds = [seed for seed in self.by_seed if seed in other.by_seed]
        return self._estimate(seeds, self.differences(other), self, other)

    def left_out(self, seeds: Sequence[int]) -> np.ndarray | None:
        """(seeds, groups), or None where a seed has other groups than the first or none."""
        parts = [self.by_seed[seed].left_out for seed in seeds]
        arrays = [part for part in parts if part is not None]
        if self.overlap is not None or len(arrays) < len(parts) or not arrays:
            return None
        return np.array(arrays) if len({len(part) for part in arrays}) == 1 else None

    def weighted(self, weight: float) -> "ArmScores":
        """These scores times a number."""
        return ArmScores(
            {
                seed: Score(
                    weight * score.value,
                    None if score.left_out is None else weight * score.left_out,
                )
                for seed, score in self.by_seed.items()
            },
            self.overlap,
        )

    def plus(self, other: "ArmScores") -> "ArmScores":
        """The sum of two arms' scores at the seeds that both have."""
        total = {}
        for seed, score in self.by_seed.items():
            if seed in other.by_seed:
                parts = score.left_out, other.by_seed[seed].left_out
                known = [part for part in parts if part is not None]
                same = len(known) == 2 and len(known[0]) == len(known[1])
                left_out = known[0] + known[1] if same else None
                total[seed] = Score(score.value + other.by_seed[seed].value, left_out)
        return ArmScores(total, self.overlap)

    def left_out_difference(self, other: "ArmScores") -> np.ndarray | None:
        seeds = [seed for seed in self.by_seed if seed in other.by_seed]
        first, second = self.left_out(seeds), other.left_out(seeds)
        return None if first is None or second is None else first - second

    @staticmethod
    def _estimate(
        seeds: Sequence[int],
        values: Sequence[float],
        first: "ArmScores",
        second: "ArmScores | None" = None,
    ) -> Estimate | None:
        left_out = first.left_out(seeds) if second is None else first.left_out_difference(second)
        return estimate(values, left_out, first.overlap)


def read_test_images(dataset: Dataset, sets: Mapping[int, TrainingSet]) -> dict[int, TestImages]:
    """{seed: its test images}, from the training sets of a comparison."""
    units: dict[float, np.ndarray] = {}
    found: dict[int, TestImages] = {}
    for seed, training_set in sets.items():
        difference = training_set.config.difference
        if difference not in units:
            units[difference] = independent_units(dataset, difference)
        rows = [dataset.rows[image] for image in training_set.test]
        index = {label: k for k, label in enumerate(training_set.classes)}
        labels = [index[label] for label in part_labels(dataset, training_set, "test")]
        found[seed] = TestImages(
            np.array(labels, np.int64),
            np.unique(units[difference][rows], return_inverse=True)[1],
            tuple(index[label] for label in training_set.minority),
            len(training_set.train),
        )
    return found


def is_shared(sets: Mapping[int, TrainingSet]) -> bool:
    """Whether all seeds have the same test images."""
    return len({frozenset(training_set.test) for training_set in sets.values()}) <= 1


def score_cell(
    cell: CellRecord, images: TestImages | None, measure: Measure, probabilities: np.ndarray | None
) -> Score:
    """A cell's score; without test images, that of its record alone.

    `probabilities` (n, K) are needed for measures that are not functions of the confusion matrix.
    """
    value = 100 * (cell.best.test.measures[measure.key] or 0.0)
    predictions = np.array(cell.best.test.predictions)
    if images is None or len(predictions) != len(images.labels):
        return Score(value)
    if measure.of_confusion:
        confusions = group_confusions(predictions, images, len(cell.best.test.confusion))
        remaining = confusions.sum(axis=0) - confusions
        return Score(value, 100 * load_named(measure.of_confusion)(remaining))
    if probabilities is None:
        return Score(value)
    blocks = images.groups % BLOCKS
    left_out = [
        measure.value(probabilities[blocks != block], images.labels[blocks != block], images.rare)
        for block in np.unique(blocks)
    ]
    if any(value is None for value in left_out):
        return Score(value)
    return Score(value, 100 * np.array(left_out, dtype=float))


def group_confusions(predictions: np.ndarray, images: TestImages, classes: int) -> np.ndarray:
    """One confusion matrix per group of test images, int (groups, K, K)."""
    groups = int(images.groups.max()) + 1
    confusions = np.zeros((groups, classes, classes), np.int64)
    np.add.at(confusions, (images.groups, images.labels, predictions), 1)
    return confusions


def read_probabilities(run: Path, cells: Sequence[CellRecord]) -> dict[str, np.ndarray]:
    """{cell: its test probabilities, float32 (n, K)}, of the cells whose file is whole."""
    found = {}
    for cell in cells:
        try:
            with np.load(probabilities_path(run, cell.cell), allow_pickle=False) as kept:
                probabilities = kept["probabilities"].astype(np.float32)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            continue
        predictions = np.array(cell.best.test.predictions)
        shape = (len(predictions), len(cell.best.test.confusion))
        if probabilities.shape == shape and (probabilities.argmax(axis=1) == predictions).all():
            found[cell.cell] = probabilities
    return found


def probabilities_path(run: Path, key: str) -> Path:
    return run / "result" / "cells" / f"{key}.npz"
