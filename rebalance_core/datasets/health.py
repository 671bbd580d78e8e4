"""Problems of a dataset: duplicates, leaks between splits, label conflicts, shortcuts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import (
    DEFAULT_DIFFERENCE,
    equal_pairs,
    group_rows,
    identical_groups,
    near_groups,
)

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"least": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "most": 1.0}


@dataclass(frozen=True)
class Finding:
    """Groups of images to review."""

    name: str
    title: str
    description: str
    groups: tuple[tuple[int, ...], ...]  # rows of the catalogue, largest group first

    @property
    def images(self) -> int:
        return sum(len(group) for group in self.groups)


def examine(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> list[Finding]:
    """All checks of the images; a finding without groups is a check that passed."""
    catalogue = dataset.catalogue
    identical = _group_members(identical_groups(dataset))
    near = _group_members(near_groups(dataset, difference))
    splits, labels = catalogue["split"].to_numpy(), catalogue["class"].to_numpy()

    def across_splits(groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [g for g in groups if len({splits[r] for r in g}) > 1]

    def across_labels(groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [g for g in groups if len({labels[r] for r in g}) > 1]

    patients = catalogue["group"].to_numpy().astype(str)
    patient_groups = _group_members(group_rows(len(patients), equal_pairs(patients)))
    leak = "scores are better than they would be on new images; use split clean."
    checks = [
        (
            "identical",
            "Byte-identical copies",
            "The same file more than once: it is counted several times.",
            identical,
        ),
        (
            "identical-across",
            "Identical across splits",
            f"Splits share images: {leak}",
            across_splits(identical),
        ),
        (
            "identical-labels",
            "Identical under two labels",
            "The same file in two classes: at least one label is wrong.",
            across_labels(identical),
        ),
        (
            "near",
            "Near-duplicates",
            "Images of the same content: re-encoded, cropped, brighter, or a neighbouring slice.",
            near,
        ),
        (
            "near-across",
            "Near-duplicates across splits",
            f"Splits share content: {leak}",
            across_splits(near),
        ),
        (
            "near-labels",
            "Near-duplicates under two labels",
            "Images of the same content in two classes: check which label is right.",
            across_labels(near),
        ),
    ]
    if (patients != "").any():
        checks.append(
            (
                "patients-across",
                "Patients across splits",
                "Images of one patient on both sides of a split; such training images are left out "
                "of training sets.",
                across_splits(patient_groups),
            )
        )
    return [Finding(name, title, text, tuple(groups)) for name, title, text, groups in checks]


def _group_members(groups: np.ndarray) -> list[tuple[int, ...]]:
    """Group ids (n,) → rows of every group of two or more, largest first."""
    order = np.argsort(groups, kind="stable")
    bounds = np.flatnonzero(np.diff(groups[order])) + 1
    parts = [tuple(part.tolist()) for part in np.split(order, bounds) if len(part) > 1]
    return sorted(parts, key=lambda part: (-len(part), part[0]))


def duplicate_statistics(
    dataset: Dataset, difference: float = DEFAULT_DIFFERENCE
) -> dict[str, Any]:
    """The findings as counts, for `datasets show`."""
    findings = {finding.name: finding for finding in examine(dataset, difference)}
    splits = dataset.catalogue["split"].to_numpy()

    def count_leaked(name: str) -> int:
        leaks = [g for g in findings[name].groups if any(splits[r] == "train" for r in g)]
        return sum(bool(splits[r] == "test") for g in leaks for r in g)

    identical, near = findings["identical"], findings["near"]
    counts = {
        "identical_groups": len(identical.groups),
        "identical_files": identical.images,
        "redundant_files": identical.images - len(identical.groups),
        "test_images_identical_to_training": count_leaked("identical-across"),
        "label_conflicts": len(findings["identical-labels"].groups),
        "near_duplicate_threshold": difference,
        "near_duplicate_groups": len(near.groups),
        "near_duplicate_images": near.images,
        "largest_near_duplicate_group": max(map(len, near.groups), default=0),
        "test_images_near_training": count_leaked("near-across"),
        "near_label_conflicts": len(findings["near-labels"].groups),
    }
    if "patients-across" in findings:
        counts["patients_across_splits"] = len(findings["patients-across"].groups)
    return counts


def brightness_statistics(dataset: Dataset) -> "pd.DataFrame":
    """One row per class: least, q1, median, q3, most of the mean gray levels (0 to 255) of its
    images, and auc: the AUROC of brightness alone for this class against the rest, at least 0.5."""
    import pandas as pd

    catalogue = dataset.catalogue
    ranks = catalogue["brightness"].rank().to_numpy()
    rows = []
    for label in dataset.classes:
        in_class = (catalogue["class"] == label).to_numpy()
        inside, outside = int(in_class.sum()), int((~in_class).sum())
        # the AUROC is Mann and Whitney's U over the number of pairs
        auc = (ranks[in_class].sum() - inside * (inside + 1) / 2) / (inside * outside)
        values = catalogue.loc[in_class, "brightness"].quantile(list(QUANTILES.values()))
        rows.append(dict(zip(QUANTILES, values, strict=True)) | {"auc": max(auc, 1 - auc)})
    return pd.DataFrame(rows, index=dataset.classes)


def format_statistics(dataset: Dataset) -> "pd.DataFrame":
    """One row per class: images, the most frequent size with its share, the share of each mode.

    A size or mode that only one class has is a shortcut for a classifier.
    """
    import pandas as pd

    table = dataset.catalogue.assign(
        size=lambda t: t["width"].astype(str) + "×" + t["height"].astype(str)
    )
    rows = {}
    for label, images in table.groupby("class"):
        sizes = images["size"].value_counts(normalize=True)
        modes = images["mode"].value_counts(normalize=True)
        rows[label] = {
            "images": len(images),
            "most frequent size": sizes.index[0],
            "share of it": float(sizes.iloc[0]),
            **{f"mode {mode}": float(share) for mode, share in modes.items()},
        }
    return pd.DataFrame.from_dict(rows, orient="index").fillna(0.0)
