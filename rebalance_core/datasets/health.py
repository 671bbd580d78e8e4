"""What is wrong with a dataset: copies, leaks between splits, contradicting labels, shortcuts."""

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
    """Groups of images that a person should look at."""

    name: str
    title: str
    meaning: str
    groups: tuple[tuple[int, ...], ...]  # rows of the catalogue, largest group first

    @property
    def images(self) -> int:
        return sum(len(group) for group in self.groups)


def examine(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> list[Finding]:
    """Everything found in the images, also what was not: then `groups` is empty."""
    catalogue = dataset.catalogue
    identical = _sets(identical_groups(dataset))
    near = _sets(near_groups(dataset, difference))
    splits, labels = catalogue["split"].to_numpy(), catalogue["class"].to_numpy()

    def across(groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [g for g in groups if len({splits[r] for r in g}) > 1]

    def torn(groups: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [g for g in groups if len({labels[r] for r in g}) > 1]

    patients = catalogue["group"].to_numpy().astype(str)
    shared = across(_sets(group_rows(len(patients), equal_pairs(patients))))
    leak = "the score on that split is better than it would be on new images; use split clean."
    found = [
        (
            "identical",
            "Byte-identical copies",
            "The same file more than once: it counts double.",
            identical,
        ),
        (
            "identical-across",
            "Identical across splits",
            f"Training holds what is tested: {leak}",
            across(identical),
        ),
        (
            "identical-labels",
            "Identical under two labels",
            "The same file in two classes: at least one label is wrong.",
            torn(identical),
        ),
        (
            "near",
            "Near-duplicates",
            "Pictures that show the same, re-encoded, cropped, brighter, or a neighbouring slice.",
            near,
        ),
        (
            "near-across",
            "Near-duplicates across splits",
            f"Training shows what is tested: {leak}",
            across(near),
        ),
        (
            "near-labels",
            "Near-duplicates under two labels",
            "Pictures that show the same in two classes: look which label is right.",
            torn(near),
        ),
    ]
    if (patients != "").any():
        found.append(
            (
                "patients-across",
                "Patients across splits",
                "One patient's images on both sides of a split; the studio leaves such training "
                "images out.",
                shared,
            )
        )
    return [Finding(name, title, what, tuple(groups)) for name, title, what, groups in found]


def _sets(groups: np.ndarray) -> list[tuple[int, ...]]:
    """Group numbers (n,) → rows of every group of two or more, largest first."""
    order = np.argsort(groups, kind="stable")
    bounds = np.flatnonzero(np.diff(groups[order])) + 1
    parts = [tuple(part.tolist()) for part in np.split(order, bounds) if len(part) > 1]
    return sorted(parts, key=lambda part: (-len(part), part[0]))


def duplicate_statistics(
    dataset: Dataset, difference: float = DEFAULT_DIFFERENCE
) -> dict[str, Any]:
    """The findings as numbers, for `datasets show`."""
    found = {finding.name: finding for finding in examine(dataset, difference)}
    splits = dataset.catalogue["split"].to_numpy()

    def tested_and_trained(name: str) -> int:
        leaks = [g for g in found[name].groups if any(splits[r] == "train" for r in g)]
        return sum(bool(splits[r] == "test") for g in leaks for r in g)

    identical, near = found["identical"], found["near"]
    facts = {
        "identical_groups": len(identical.groups),
        "identical_files": identical.images,
        "redundant_files": identical.images - len(identical.groups),
        "test_images_identical_to_training": tested_and_trained("identical-across"),
        "label_conflicts": len(found["identical-labels"].groups),
        "near_duplicate_threshold": difference,
        "near_duplicate_groups": len(near.groups),
        "near_duplicate_images": near.images,
        "largest_near_duplicate_group": max(map(len, near.groups), default=0),
        "test_images_near_training": tested_and_trained("near-across"),
        "near_label_conflicts": len(found["near-labels"].groups),
    }
    if "patients-across" in found:
        facts["patients_across_splits"] = len(found["patients-across"].groups)
    return facts


def brightness_statistics(dataset: Dataset) -> "pd.DataFrame":
    """One row a class: least, q1, median, q3, most of its images' mean gray levels (0 to 255),
    and auc: how well brightness alone tells the class from the rest, 0.5 (not) to 1 (always)."""
    import pandas as pd

    catalogue = dataset.catalogue
    ranks = catalogue["brightness"].rank().to_numpy()
    rows = []
    for label in dataset.classes:
        mine = (catalogue["class"] == label).to_numpy()
        inside, outside = int(mine.sum()), int((~mine).sum())
        # Mann and Whitney's U over all pairs is the area under the ROC curve.
        area = (ranks[mine].sum() - inside * (inside + 1) / 2) / (inside * outside)
        values = catalogue.loc[mine, "brightness"].quantile(list(QUANTILES.values()))
        rows.append(dict(zip(QUANTILES, values, strict=True)) | {"auc": max(area, 1 - area)})
    return pd.DataFrame(rows, index=dataset.classes)


def format_statistics(dataset: Dataset) -> "pd.DataFrame":
    """One row a class: images, its most frequent size with its share, and the share of each
    stored mode; a form that only one class has is a shortcut for a classifier."""
    import pandas as pd

    table = dataset.catalogue.assign(
        size=lambda t: t["width"].astype(str) + "×" + t["height"].astype(str)
    )
    rows = {}
    for label, mine in table.groupby("class"):
        sizes = mine["size"].value_counts(normalize=True)
        modes = mine["mode"].value_counts(normalize=True)
        rows[label] = {
            "images": len(mine),
            "most frequent size": sizes.index[0],
            "share of it": float(sizes.iloc[0]),
            **{f"mode {mode}": float(share) for mode, share in modes.items()},
        }
    return pd.DataFrame.from_dict(rows, orient="index").fillna(0.0)
