"""Train, validation and test: `official` as they came; `clean` without the copies across parts that
are found, and without shared patients."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import equal_pairs, group_rows, near_groups

SplitName = Literal["official", "clean"]
TEST_SHARE = 0.2  # of a dataset that came without a test split


@dataclass(frozen=True)
class Split:
    """Rows of the catalogue in each part, and how many images were left out of which."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    dropped: dict[str, int]


def split_rows(
    dataset: Dataset, name: SplitName, difference: float, validation: float, seed: int
) -> Split:
    """Split all images; what has no official part is cut, stratified, by `seed`.

    `official` drops images only of patients: of training, those that validation or test hold; of
    an official validation split, those that test holds. `clean` also keeps one image of each
    near-duplicate group of the test split, and drops every validation and training image that
    shares such a group with what is tested, or with validation. No patient straddles parts.
    """
    catalogue = dataset.catalogue
    came = catalogue["split"].to_numpy()
    train, valid, test = (np.flatnonzero(came == part) for part in ("train", "validation", "test"))
    patients = catalogue["group"].to_numpy().astype(str)
    keys = [patients]
    if name == "clean":
        keys.append(near_groups(dataset, difference).astype(str))
    units = group_rows(len(catalogue), np.concatenate([equal_pairs(key) for key in keys]))
    labels = catalogue["class"].to_numpy()
    dropped = {"test": 0, "validation": 0, "train": 0}

    if not len(test):
        test, train = _cut(train, units, labels, TEST_SHARE, [seed, 2])
    tested = test
    if name == "clean":
        _, first = np.unique(keys[1][test], return_index=True)
        dropped["test"] = len(test) - len(first)
        test = test[np.sort(first)]
    valid, dropped["validation"] = _without(valid, tested, keys)
    train, dropped["train"] = _without(train, tested, keys)
    if not len(valid):
        valid, train = _cut(train, units, labels, validation, [seed, 3])
    train, shared = _without(train, np.concatenate([valid, test]), keys)
    dropped["train"] += shared
    return Split(train, valid, test, {part: n for part, n in dropped.items() if n})


def _without(
    rows: np.ndarray, others: np.ndarray, keys: list[np.ndarray]
) -> tuple[np.ndarray, int]:
    """`rows` that share no key with `others`, and how many do; the key '' is shared by none."""
    shares = np.zeros(len(rows), bool)
    for key in keys:
        taken = np.setdiff1d(key[others], [""])
        shares |= np.isin(key[rows], taken)
    return rows[~shares], int(shares.sum())


def _cut(
    rows: np.ndarray, units: np.ndarray, labels: np.ndarray, share: float, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(share of every class, the rest) of whole units, drawn in a seeded order.

    A class that can do so gives and keeps at least one image.
    """
    rng = np.random.default_rng(seed)
    own = labels[rows].tolist()
    sizes = Counter(own)
    members: dict[int, list[int]] = {}
    for place, unit in enumerate(units[rows].tolist()):
        members.setdefault(unit, []).append(place)
    wanted = {c: min(max(1, round(n * share)), n - 1) for c, n in sizes.items()}
    given: Counter[str] = Counter()
    taken = np.zeros(len(rows), bool)

    def draw(label: str, order: list[list[int]], enough: int, limit: dict[str, int]) -> None:
        """Take units of `label` until it has `enough`, no class ever more than `limit`."""
        for unit in order:
            if given[label] >= enough:
                return
            inside = Counter(own[place] for place in unit)
            if not taken[unit[0]] and all(given[c] + n <= limit[c] for c, n in inside.items()):
                taken[unit] = True
                given.update(inside)

    for label in sorted(sizes):
        places = [place for place, c in enumerate(own) if c == label]
        drawn = (int(units[rows[places[k]]]) for k in rng.permutation(len(places)))
        order = [members[unit] for unit in dict.fromkeys(drawn)]  # each unit once
        draw(label, order, wanted[label], wanted)
        draw(
            label,
            sorted(order, key=len),
            min(1, wanted[label]),
            {c: n - 1 for c, n in sizes.items()},
        )
    return rows[taken], rows[~taken]
