"""The images of a part of a training set, and the classes that a part lacks."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rebalance_core.datasets.dataset import Dataset, Progress
from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import Part
from rebalance_core.training_sets.resolve import TrainingSet


@dataclass(frozen=True)
class Images:
    """A part of a training set in memory: uint8 (n, H, W, C), int64 labels (n,), ids."""

    images: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]


def load_part(
    dataset: Dataset, chosen: TrainingSet, part: Part, size: int, progress: Progress | None = None
) -> Images:
    """The images of one part at `size` px; raises UserError if the dataset is another by now."""
    ids = getattr(chosen, part)
    rows = _part_rows(dataset, chosen, part)
    labels = part_labels(dataset, chosen, part)
    index = {c: chosen.class_index(c) for c in dict.fromkeys(labels.tolist())}
    numbers = np.array([index[c] for c in labels], dtype=np.int64)
    return Images(dataset.array(size, progress, chosen.config.fit)[rows], numbers, ids)


def _part_rows(dataset: Dataset, chosen: TrainingSet, part: Part) -> np.ndarray:
    """Rows of the catalogue, int64 (n,); raises UserError if the set is not of this dataset."""
    if dataset.fingerprint != chosen.fingerprint:
        raise UserError(
            f"Training set {chosen.name} was made of another dataset {dataset.name} than the one "
            "that is there now; make the set again with `sets make`."
        )
    try:
        return np.array([dataset.rows[i] for i in getattr(chosen, part)], dtype=np.int64)
    except KeyError as error:
        raise UserError(
            f"Training set {chosen.name} names image {error}, which dataset {dataset.name} does "
            "not contain; make the set again with `sets make`."
        ) from error


def part_labels(dataset: Dataset, chosen: TrainingSet, part: Part) -> np.ndarray:
    """The class of each image of a part, str (n,)."""
    found: np.ndarray = dataset.catalogue["class"].to_numpy()[_part_rows(dataset, chosen, part)]
    return found


def part_counts(dataset: Dataset, chosen: TrainingSet, part: Part) -> dict[str, int]:
    """{class: images} of one part of a training set, with 0 for a class that has none."""
    found = Counter(part_labels(dataset, chosen, part).tolist())
    return {label: found[label] for label in chosen.classes}


def missing_classes(dataset: Dataset, chosen: TrainingSet, part: Part) -> list[str]:
    """The classes that have no image in one part of a training set."""
    return [label for label, n in part_counts(dataset, chosen, part).items() if not n]


def missing_class_notes(dataset: Dataset, chosen: TrainingSet) -> list[str]:
    """One sentence for each part that lacks a class, with what follows from it."""
    notes = []
    if validation := missing_classes(dataset, chosen, "validation"):
        notes.append(
            f"No validation image of {', '.join(validation)}: epochs are chosen on validation, so "
            "a comparison needs some of every class and is refused."
        )
    if test := missing_classes(dataset, chosen, "test"):
        notes.append(
            f"No test image of {', '.join(test)}: every average over classes on the test split is "
            "over the other classes, the same for all arms."
        )
    return notes


def check_validation_classes(dataset: Dataset, chosen: TrainingSet) -> None:
    """Raise UserError if validation, on which a comparison chooses epochs, lacks a class."""
    if missing := missing_classes(dataset, chosen, "validation"):
        raise UserError(
            f"Training set {chosen.name} has no validation image of {', '.join(missing)}, and a "
            "comparison chooses each classifier's epoch on validation; make a set with a larger "
            "validation fraction or another split, or add images of that class."
        )
