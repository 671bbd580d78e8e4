"""Load the parts of a training set, and check them for missing classes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from rebalance_core.datasets.dataset import Dataset, Progress
from rebalance_core.datasets.duplicates import has_similar
from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import NO_SKEW_ALIASES, Part
from rebalance_core.training_sets.resolve import TrainingSet

FEW = 10  # validation images of a class, below which the chosen epoch is a matter of chance


@dataclass(frozen=True)
class Images:
    """A part of a training set: images uint8 (n, H, W, C), labels int64 (n,), ids."""

    images: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]


def load_part(
    dataset: Dataset,
    training_set: TrainingSet,
    part: Part,
    size: int,
    progress: Progress | None = None,
) -> Images:
    """The images of one part at `size` px; raises UserError if the dataset has changed."""
    ids = getattr(training_set, part)
    rows = _part_rows(dataset, training_set, part)
    names = part_labels(dataset, training_set, part)
    index = {c: training_set.class_index(c) for c in dict.fromkeys(names.tolist())}
    labels = np.array([index[c] for c in names], dtype=np.int64)
    return Images(dataset.array(size, progress, training_set.config.fit)[rows], labels, ids)


def _part_rows(dataset: Dataset, training_set: TrainingSet, part: Part) -> np.ndarray:
    """Rows of the catalogue, int64 (n,); raises UserError if the set is of another dataset."""
    if dataset.fingerprint != training_set.fingerprint:
        raise UserError(
            f"Training set {training_set.name} was made from another version of dataset "
            f"{dataset.name}; make the set again with `sets make`."
        )
    try:
        return np.array([dataset.rows[i] for i in getattr(training_set, part)], dtype=np.int64)
    except KeyError as error:
        raise UserError(
            f"Training set {training_set.name} lists image {error}, which dataset {dataset.name} "
            "does not contain; make the set again with `sets make`."
        ) from error


def part_labels(dataset: Dataset, training_set: TrainingSet, part: Part) -> np.ndarray:
    """The class name of each image of a part, str (n,)."""
    rows = _part_rows(dataset, training_set, part)
    labels: np.ndarray = dataset.catalogue["class"].to_numpy()[rows]
    return labels


def part_counts(dataset: Dataset, training_set: TrainingSet, part: Part) -> dict[str, int]:
    """{class: number of images} of one part, with 0 for a class without images."""
    counts = Counter(part_labels(dataset, training_set, part).tolist())
    return {label: counts[label] for label in training_set.classes}


def missing_classes(dataset: Dataset, training_set: TrainingSet, part: Part) -> list[str]:
    """The classes without images in one part."""
    return [label for label, n in part_counts(dataset, training_set, part).items() if not n]


def set_notes(dataset: Dataset, training_set: TrainingSet) -> list[str]:
    """Sentences on what a person should know of a set: missing and small classes, the split."""
    notes = []
    if validation := missing_classes(dataset, training_set, "validation"):
        notes.append(
            f"No validation image of {', '.join(validation)}: epochs are chosen on validation, "
            "so a comparison needs images of every class and is refused."
        )
    if test := missing_classes(dataset, training_set, "test"):
        notes.append(
            f"No test image of {', '.join(test)}: every average over classes on the test split is "
            "over the other classes, the same for all arms."
        )
    counts = part_counts(dataset, training_set, "validation")
    if few := [f"{label} ({n})" for label, n in counts.items() if 0 < n < FEW]:
        notes.append(
            f"Fewer than {FEW} validation images of {', '.join(few)}: the chosen epoch depends on "
            "them; compare the last epoch's figures as well."
        )
    if copies := leaked_images(dataset, training_set):
        notes.append(leak_note(dataset, training_set, copies))
    official = dataset.counts()["train"]
    largest = max(official, key=lambda label: official[label])
    is_whole = training_set.config.skew in NO_SKEW_ALIASES or "@" in training_set.config.skew
    if training_set.config.split == "clean" and not is_whole and largest in training_set.minority:
        notes.append(
            f"Split clean changes the largest class: {', '.join(training_set.majority)} instead of "
            f"{largest}. Name the class that stays whole to compare the same question, such as "
            f"step:10@{largest}."
        )
    return notes


def leaked_images(dataset: Dataset, training_set: TrainingSet) -> int:
    """The number of test images that are near-duplicates of a training or validation image."""
    rows, others = (
        [dataset.rows[image] for image in images]
        for images in (training_set.test, (*training_set.train, *training_set.validation))
    )
    return int(has_similar(dataset, rows, others, training_set.config.difference).sum())


def leak_note(dataset: Dataset, training_set: TrainingSet, copies: int) -> str:
    """A sentence on the test images that are `copies` of a training or validation image."""
    difference, symmetries = training_set.config.difference, dataset.manifest.symmetries
    how = f"(a difference of at most {difference:g}, symmetries {symmetries})"
    if not copies:
        return f"No test image is a copy of a training or validation image {how}."
    return (
        f"{copies:,} of {len(training_set.test):,} test images are copies of a training or "
        f"validation image {how}: scores are too high. The split clean leaves such copies out."
    )


def check_validation_classes(dataset: Dataset, training_set: TrainingSet) -> None:
    """Raise UserError if a class has no validation images, on which epochs are chosen."""
    if missing := missing_classes(dataset, training_set, "validation"):
        raise UserError(
            f"Training set {training_set.name} has no validation image of {', '.join(missing)}, "
            "and a comparison chooses each classifier's epoch on validation; make a set with a "
            "larger validation fraction or another split, or add images of that class."
        )
