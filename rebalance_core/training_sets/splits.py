"""Train, validation and test splits: `official`, and `clean` without near-duplicates across parts.

No patient is in two parts of either.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import (
    equal_pairs,
    group_rows,
    independent_units,
    near_groups,
)

SplitName = Literal["official", "clean"]
TEST_SHARE = 0.2  # of a dataset without an official test split


@dataclass(frozen=True)
class Split:
    """Rows of the catalogue in each part, and {part: number of images removed}."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: dict[str, int]
    reserved: tuple[np.ndarray, ...] = ()  # parts of test


def split_rows(
    dataset: Dataset,
    name: SplitName,
    difference: float,
    validation: float,
    seed: int,
    test_seed: int,
    reserve: int = 0,
) -> Split:
    """Split all images; a part that is not official is a stratified sample.

    Drawn with `seed` for validation, and with `test_seed` for test. Test is cut by patient and
    near-duplicate group into an open part and `reserve` reserved ones of the same size.

    `official` removes training images of patients that are in validation or test, and validation
    images of patients that are in test. `clean` also keeps only one image of each near-duplicate
    group in test, and removes training and validation images that share a group with test (or, of
    training, with validation).
    """
    catalogue = dataset.catalogue
    official = catalogue["split"].to_numpy()
    train, valid, test = (
        np.flatnonzero(official == part) for part in ("train", "validation", "test")
    )
    patients = catalogue["group"].to_numpy().astype(str)
    keys = [patients]
    if name == "clean":
        keys.append(near_groups(dataset, difference).astype(str))
    units = group_rows(len(catalogue), np.concatenate([equal_pairs(key) for key in keys]))
    labels = catalogue["class"].to_numpy()
    dropped = {"test": 0, "validation": 0, "train": 0}

    if not len(test):
        test, train = _sample_units(train, units, labels, TEST_SHARE, [test_seed, 2])
    whole_test = test
    if name == "clean":
        _, first = np.unique(keys[1][test], return_index=True)
        dropped["test"] = len(test) - len(first)
        test = test[np.sort(first)]
    valid, dropped["validation"] = _remove_shared(valid, whole_test, keys)
    train, dropped["train"] = _remove_shared(train, whole_test, keys)
    if not len(valid):
        valid, train = _sample_units(train, units, labels, validation, [seed, 3])
    train, shared = _remove_shared(train, np.concatenate([valid, test]), keys)
    dropped["train"] += shared
    reserved = []
    if reserve:
        units = independent_units(dataset, difference)
        for number in range(reserve):
            share = 1 / (reserve + 1 - number)
            part, test = _sample_units(test, units, labels, share, [test_seed, 5, number])
            reserved.append(part)
    return Split(train, valid, test, {part: n for part, n in dropped.items() if n}, tuple(reserved))


def _remove_shared(
    rows: np.ndarray, others: np.ndarray, keys: list[np.ndarray]
) -> tuple[np.ndarray, int]:
    """The rows that share no key with `others`, and the number removed; '' matches nothing."""
    is_shared = np.zeros(len(rows), bool)
    for key in keys:
        values = np.setdiff1d(key[others], [""])
        is_shared |= np.isin(key[rows], values)
    return rows[~is_shared], int(is_shared.sum())


def _sample_units(
    rows: np.ndarray, units: np.ndarray, labels: np.ndarray, share: float, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stratified sample of whole units: rows of the sample, and the remaining rows.

    `units` is the group id of every row of the catalogue. Where possible, every class has at least
    one image in the sample and one in the remainder.
    """
    rng = np.random.default_rng(seed)
    row_labels = labels[rows].tolist()
    sizes = Counter(row_labels)
    members: dict[int, list[int]] = {}
    for index, unit in enumerate(units[rows].tolist()):
        members.setdefault(unit, []).append(index)
    targets = {c: min(max(1, round(n * share)), n - 1) for c, n in sizes.items()}
    counts: Counter[str] = Counter()
    is_sampled = np.zeros(len(rows), bool)

    def draw(label: str, order: list[list[int]], target: int, limits: dict[str, int]) -> None:
        """Sample units until `label` has `target` images, within the limits of all classes."""
        for unit in order:
            if counts[label] >= target:
                return
            added = Counter(row_labels[index] for index in unit)
            if not is_sampled[unit[0]] and all(
                counts[c] + n <= limits[c] for c, n in added.items()
            ):
                is_sampled[unit] = True
                counts.update(added)

    for label in sorted(sizes):
        indices = [index for index, c in enumerate(row_labels) if c == label]
        permuted = (int(units[rows[indices[k]]]) for k in rng.permutation(len(indices)))
        order = [members[unit] for unit in dict.fromkeys(permuted)]  # without repetitions
        draw(label, order, targets[label], targets)
        # at least one image, if need be by exceeding the targets of other classes
        limits = {c: n - 1 for c, n in sizes.items()}
        draw(label, sorted(order, key=len), min(1, targets[label]), limits)
    return rows[is_sampled], rows[~is_sampled]
