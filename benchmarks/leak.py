"""What test images with copies in training are worth: the same test images, with and without them.

`python benchmarks/leak.py DATASET FOLDER`: writes `leak-runs.csv` (one row per classifier) and
`leak-copies.csv` (each official test image with a copy in training, and its closest copy) to
FOLDER, and prints the differences. The protocol is in docs/results/leak.md.

Claim: a classifier is more accurate on test images whose copies it was trained on than one that was
trained on as many other images instead. Ours: accuracy without the copies. Theirs: with them.
"""

import csv
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import report
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.comparison.statistics import interval
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.duplicates import (
    DEFAULT_DIFFERENCE,
    equal_groups,
    load_near_pairs,
    near_groups,
)
from rebalance_core.imaging.symmetry import IDENTITY, KINDS
from rebalance_core.runs.directory import code_version
from rebalance_core.training_sets.load import Images
from rebalance_core.workspace import Workspace

SEEDS = tuple(range(5))
SIZE, EPOCHS, LR = 32, 10, 0.01
AUGMENTATIONS = ("none", "scans")  # "scans" mirrors images, among others


@dataclass(frozen=True)
class Draw:
    """Rows of the catalogue of one seed; both trainings have as many images of each class."""

    with_copies: np.ndarray
    without: np.ndarray
    copied: np.ndarray  # test images with a copy in the first training, and in the second none
    clean: np.ndarray  # one test image of each group; none has a copy in the second training


def draw(dataset: Dataset, seed: int) -> Draw:
    """Half of the other images of a class, and then copies or more of the other images.

    Each part has one image of each group of copies.
    """
    rng = np.random.default_rng([seed, 7])
    table = dataset.catalogue
    splits, labels = table["split"].to_numpy(), table["class"].to_numpy()
    groups = near_groups(dataset)

    def one_of_each(rows: np.ndarray) -> np.ndarray:
        rows = rng.permutation(rows)
        return rows[np.unique(groups[rows], return_index=True)[1]]

    tests, training = (np.flatnonzero(splits == part) for part in ("test", "train"))
    shared = np.intersect1d(groups[tests], groups[training])
    parts: dict[str, list[np.ndarray]] = {"base": [], "copies": [], "others": [], "copied": []}
    for label in dataset.classes:
        in_class = labels == label
        others = one_of_each(training[in_class[training] & ~np.isin(groups[training], shared)])
        copies = one_of_each(training[in_class[training] & np.isin(groups[training], shared)])
        others, copies = rng.permutation(others), rng.permutation(copies)
        half = len(others) // 2
        count = min(len(others) - half, len(copies))
        parts["base"].append(others[:half])
        parts["others"].append(others[half : half + count])
        parts["copies"].append(copies[:count])
        of_copies = tests[in_class[tests] & np.isin(groups[tests], groups[copies[:count]])]
        parts["copied"].append(one_of_each(of_copies))
    base, copies, others, copied = (np.concatenate(rows) for rows in parts.values())
    return Draw(
        with_copies=np.sort(np.concatenate([base, copies])),
        without=np.sort(np.concatenate([base, others])),
        copied=np.sort(copied),
        clean=np.sort(one_of_each(tests)),
    )


def images_of(dataset: Dataset, rows: np.ndarray) -> Images:
    labels = np.searchsorted(dataset.classes, dataset.catalogue["class"].to_numpy()[rows])
    return Images(dataset.array(SIZE)[rows], labels.astype(np.int64), ())


def measure(dataset: Dataset, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record per classifier; those in `known` are not trained again."""
    by_key = {(k["seed"], k["augmentation"], k["training"]): k for k in known}
    for seed in SEEDS:
        drawn = draw(dataset, seed)
        tested = {name: images_of(dataset, getattr(drawn, name)) for name in ("copied", "clean")}
        for augmentation in AUGMENTATIONS:
            config = ClassifierConfig(
                size=SIZE, epochs=EPOCHS, lr=LR, cosine=True, augmentation=augmentation
            )
            for training in ("with_copies", "without"):
                if (seed, augmentation, training) in by_key:
                    yield by_key[seed, augmentation, training]
                    continue
                start = time.perf_counter()
                images = images_of(dataset, getattr(drawn, training))
                scorer = train_scorer(config, images, tuple(dataset.classes), seed)
                accuracy = {
                    name: float((scorer(part.images)[0].argmax(axis=1) == part.labels).mean())
                    for name, part in tested.items()
                }
                yield {
                    "seed": seed,
                    "augmentation": augmentation,
                    "training": training,
                    "training_images": len(images.labels),
                    "copied_test_images": len(drawn.copied),
                    "accuracy_copied": round(accuracy["copied"], 5),
                    "clean_test_images": len(drawn.clean),
                    "accuracy_clean": round(accuracy["clean"], 5),
                    "seconds": round(time.perf_counter() - start, 1),
                }


def copies(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Each official test image with a copy in training, and its closest copy there."""
    table = dataset.catalogue
    splits, images = table["split"].to_numpy(), table["image"].to_numpy()
    equal, digests = equal_groups(dataset), table["sha256"].to_numpy()
    near = load_near_pairs(dataset)
    near = near[near["difference"] <= DEFAULT_DIFFERENCE]
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(splits == "train"):
        members.setdefault(int(equal[row]), []).append(int(row))
    links: dict[int, list[tuple[float, int, int]]] = {g: [(0.0, IDENTITY, g)] for g in set(equal)}
    for first, second, symmetry, difference in near.tolist():
        for one, other in ((first, second), (second, first)):
            links[int(equal[one])].append((difference, symmetry, int(equal[other])))
    for row in np.flatnonzero(splits == "test"):
        found = sorted(link for link in links[int(equal[row])] if link[2] in members)
        if not found:
            continue
        difference, symmetry, group = found[0]
        same_file = [other for other in members[group] if digests[other] == digests[row]]
        yield {
            "test_image": images[row],
            "class": table["class"].iloc[row],
            "copy": images[(same_file or members[group])[0]],
            "copy_class": table["class"].iloc[members[group][0]],
            "kind": "identical" if same_file else KINDS[symmetry],
            "difference": round(difference, 4),
            "copies": len({other for _, _, g in found for other in members[g]}),
        }


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The records of an interrupted measurement."""
    if not path.exists():
        return []
    texts = ("augmentation", "training")
    decimals = ("accuracy_copied", "accuracy_clean", "seconds")
    with path.open(newline="") as file:
        return [
            {k: v if k in texts else float(v) if k in decimals else int(v) for k, v in line.items()}
            for line in csv.DictReader(file)
        ]


def write(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def main(name: str, folder: Path) -> int:
    dataset = open_dataset(Workspace.from_environment(), name)
    listed = list(copies(dataset))
    write(folder / "leak-copies.csv", listed)
    records = []
    for record in measure(dataset, read_runs(folder / "leak-runs.csv")):
        records.append(record)
        print(record, file=sys.stderr, flush=True)
        write(folder / "leak-runs.csv", records)
    guards: dict[str, Any] = {"test_images_with_copy": len(listed)}
    means: dict[tuple[str, str], float] = {}
    for augmentation in AUGMENTATIONS:
        values = {
            (training, part): [
                100 * r[f"accuracy_{part}"]
                for r in records
                if (r["augmentation"], r["training"]) == (augmentation, training)
            ]
            for training in ("with_copies", "without")
            for part in ("copied", "clean")
        }
        for (training, part), numbers in values.items():
            means[augmentation, f"{training} {part}"] = float(np.mean(numbers))
            guards[f"{augmentation}, {training}, {part}"] = round(float(np.mean(numbers)), 2)
        pairs = zip(values["with_copies", "copied"], values["without", "copied"], strict=True)
        gains = [with_copies - without for with_copies, without in pairs]
        guards[f"{augmentation}: points gained by copies"] = round(float(np.mean(gains)), 2)
        bounds = interval(gains)
        guards[f"{augmentation}: 95 %"] = bounds and [round(bound, 2) for bound in bounds]
    ours, theirs = means["none", "without copied"], means["none", "with_copies copied"]
    return report(
        claim=f"accuracy (percent) on the same test images of {name}, trained with as many other "
        "images instead of their copies (ours) and with their copies (theirs)",
        ours=round(ours, 2),
        theirs=round(theirs, 2),
        unit="%",
        ratio=round(theirs / ours, 3),
        target=None,
        guards={
            **guards,
            "seeds": list(SEEDS),
            "code": code_version(),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        },
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(
            "Name a dataset of the workspace and a folder; nothing was measured.", file=sys.stderr
        )
        sys.exit(0)
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
