"""Problems of a dataset: copies, leaks between splits, label conflicts, gray levels, shortcuts."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.duplicates import (
    DEFAULT_DIFFERENCE,
    equal_groups,
    equal_pairs,
    group_rows,
    identical_pairs,
    near_groups,
    pair_kinds,
)
from rebalance_core.datasets.inspecting import BLANK_SPREAD
from rebalance_core.imaging.symmetry import FLIP, KINDS, MIRROR

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"least": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "most": 1.0}


FEW_LEVELS = 16  # distinct gray levels that a photograph or scan exceeds
MIN_IMAGES = 8  # from which a typical brightness is known
DISTANCE, STEPS = 64.0, 7  # gray levels, and robust standard deviations, that are far
RATIO, RATIOS = 3.0, 8  # the same of the ratio of brightness
MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Finding:
    """Groups of images to review."""

    name: str
    title: str
    description: str
    groups: tuple[tuple[int, ...], ...]  # rows of the catalogue, largest group first
    note: str = ""  # what is true of most of the dataset and therefore not listed
    by_class: bool = False  # whether a group is all images of one class, else copies

    @property
    def images(self) -> int:
        return sum(len(group) for group in self.groups)


def examine(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> list[Finding]:
    """All checks of the images; a finding without groups is a check that passed."""
    catalogue = dataset.catalogue
    splits, labels = catalogue["split"].to_numpy(), catalogue["class"].to_numpy()
    patients = catalogue["group"].to_numpy().astype(str)
    identical = identical_pairs(dataset)
    pairs, kinds = pair_kinds(dataset, difference)

    def groups(*chosen: np.ndarray) -> list[tuple[int, ...]]:
        return _group_members(group_rows(len(catalogue), np.concatenate(chosen)))

    def across(groups: list[tuple[int, ...]], values: np.ndarray) -> list[tuple[int, ...]]:
        return [group for group in groups if len({values[row] for row in group}) > 1]

    as_it_is, mirrored = pairs[kinds == "as it is"], pairs[kinds == "mirrored"]
    turned = pairs[(kinds == "flipped") | (kinds == "turned")]
    leak = "scores are better than they would be on new images; use split clean."
    checks = [
        (
            "identical",
            "Byte-identical copies",
            "The same file more than once: it is counted several times.",
            groups(identical),
        ),
        (
            "identical-across",
            "Identical across splits",
            f"Splits share images: {leak}",
            across(groups(identical), splits),
        ),
        (
            "identical-labels",
            "Identical under two labels",
            "The same file in two classes: at least one label is wrong.",
            across(groups(identical), labels),
        ),
        (
            "near",
            "Near-duplicates",
            "Images of the same content: re-encoded, cropped, brighter, or a neighbouring slice.",
            groups(identical, as_it_is),
        ),
    ]
    if MIRROR in dataset.symmetries:
        checks.append(
            (
                "mirrored",
                "Mirrored copies",
                "Mirror images, left to right, that are not near-duplicates as they are.",
                groups(mirrored),
            )
        )
    if FLIP in dataset.symmetries:
        checks.append(
            (
                "turned",
                "Flipped and turned copies",
                "The same content upside down, or turned by 90° or 180°, mirrored or not.",
                groups(turned),
            )
        )
    checks += [
        (
            "near-across",
            "Copies across splits",
            f"Splits share content, in any of the ways above: {leak}",
            across(groups(identical, pairs), splits),
        ),
        (
            "near-labels",
            "Copies under two labels",
            "The same content in two classes, as it is or mirrored: check which label is right.",
            across(groups(identical, as_it_is, mirrored), labels),
        ),
    ]
    if (patients != "").any():
        checks.append(
            (
                "patients-across",
                "Patients across splits",
                "Images of one patient on both sides of a split; such training images are left out "
                "of training sets.",
                across(groups(equal_pairs(patients)), splits),
            )
        )
    copies = [Finding(name, title, text, tuple(found)) for name, title, text, found in checks]
    return copies + examine_levels(dataset)


def examine_levels(dataset: Dataset) -> list[Finding]:
    """Checks of what images look like in 8 bits; groups are the images of one class.

    Datasets of earlier versions have no counts of gray levels, so that only their brightness is
    checked.
    """
    catalogue = dataset.catalogue
    brightness = catalogue["brightness"].to_numpy(dtype=float)
    is_blank = np.zeros(len(catalogue), bool)
    findings = []
    if dataset.used_levels is not None:
        levels, spread = dataset.used_levels
        is_blank = spread <= BLANK_SPREAD
        findings = [_blank(dataset, is_blank), _few_levels(dataset, levels, is_blank)]
    dark, bright = brightness_outliers(brightness, ~is_blank)
    return [
        *findings,
        Finding(
            "dark",
            "Far darker than the rest",
            "Underexposed, cut off, or of another scale of gray values: check how they were made.",
            _by_class(dataset, dark),
            by_class=True,
        ),
        Finding(
            "bright",
            "Far brighter than the rest",
            "Overexposed, on another ground, inverted, or of another scale of gray values.",
            _by_class(dataset, bright),
            by_class=True,
        ),
    ]


def _blank(dataset: Dataset, is_blank: np.ndarray) -> Finding:
    return Finding(
        "blank",
        "Blank images",
        "They show one gray level, or hardly more: a failed export or conversion, an empty slice. "
        "Leave them out, or set the range of gray values at import.",
        _by_class(dataset, is_blank),
        f"All {len(is_blank):,} images are blank." if is_blank.all() else "",
        by_class=True,
    )


def _few_levels(dataset: Dataset, levels: np.ndarray, is_blank: np.ndarray) -> Finding:
    is_few = (levels < FEW_LEVELS) & ~is_blank
    note = ""
    if is_few.any() and is_few.sum() > (~is_blank).sum() / 2:
        note = (
            f"{is_few.sum():,} of {len(levels):,} images have fewer than {FEW_LEVELS} gray levels, "
            "as line art and masks do; if yours are not, set the range of gray values at import."
        )
        is_few = np.zeros_like(is_few)
    return Finding(
        "few-levels",
        "Few gray levels",
        f"Fewer than {FEW_LEVELS} of 256 gray levels, unlike the rest: a mask, line art, or a "
        "conversion that lost the picture.",
        _by_class(dataset, is_few),
        note,
        by_class=True,
    )


def brightness_outliers(brightness: np.ndarray, is_shown: np.ndarray) -> tuple[np.ndarray, ...]:
    """Masks (n,) of the images that are far darker and far brighter than the others.

    Brightness is the mean gray level, 0 to 255. Only images `is_shown` count. Far: in gray levels
    (DISTANCE and STEPS), or in the ratio of what remains to black or to white (RATIO and RATIOS).
    """
    shown = brightness[is_shown]
    if len(shown) < MIN_IMAGES:
        nothing = np.zeros(len(brightness), bool)
        return nothing, nothing
    steps = _deviations(brightness, shown, DISTANCE / STEPS) / STEPS
    floor = float(np.log(RATIO)) / RATIOS
    to_black = _deviations(np.log1p(brightness), np.log1p(shown), floor) / RATIOS
    to_white = _deviations(np.log1p(255 - brightness), np.log1p(255 - shown), floor) / RATIOS
    dark = (steps < -1) | (to_black < -1)
    return is_shown & dark, is_shown & ((steps > 1) | (to_white < -1))


def _deviations(values: np.ndarray, reference: np.ndarray, floor: float) -> np.ndarray:
    """Distances from the median of `reference`, in its robust standard deviations, at least
    `floor`."""
    median = np.median(reference)
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(reference - median)))
    scaled: np.ndarray = (values - median) / max(sigma, floor)
    return scaled


def _by_class(dataset: Dataset, chosen: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The chosen rows of each class, the largest class first."""
    labels = dataset.catalogue["class"].to_numpy()
    groups = [tuple(np.flatnonzero(chosen & (labels == c)).tolist()) for c in dataset.classes]
    return tuple(sorted(filter(None, groups), key=lambda rows: (-len(rows), rows[0])))


def finding_statistics(
    dataset: Dataset, difference: float = DEFAULT_DIFFERENCE
) -> dict[str, dict[str, Any]]:
    """{finding: its numbers of groups and images, images by class, and the first image}.

    Checks that passed are left out.
    """
    labels = dataset.catalogue["class"].to_numpy()
    table: dict[str, dict[str, Any]] = {}
    for finding in examine(dataset, difference):
        if not finding.groups and not finding.note:
            continue
        rows = [row for group in finding.groups for row in group]
        counts = Counter(str(labels[row]) for row in rows)
        table[finding.name] = {
            "title": finding.title,
            "groups": len(finding.groups),
            "images": len(rows),
            "by_class": {label: counts[label] for label in dataset.classes if counts[label]},
            "first": dataset.catalogue["image"][rows[0]] if rows else "",
            "description": finding.description,
            "note": finding.note,
        }
    return table


def distinct_images(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> dict[str, int]:
    """{class: number of groups of copies among its images}, an image without copies being one."""
    table = dataset.catalogue.assign(group=near_groups(dataset, difference))
    counts = table.groupby("class")["group"].nunique()
    return {label: int(counts[label]) for label in dataset.classes}


def unknown_patients_note(dataset: Dataset) -> str:
    """A sentence where images have no patient: one may be on both sides of a split; or empty."""
    if dataset.manifest.source.get("source") == "phantom":
        return ""  # every image is of another head
    unknown = int((dataset.catalogue["group"] == "").sum())
    if not unknown:
        return ""
    return (
        f"The patient of {unknown:,} of {len(dataset.catalogue):,} images is unknown: images of "
        "one patient that are not copies of each other may be in training and in test."
    )


def copies_in_training(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> dict[str, int]:
    """{kind: test images with a copy in training}; an image counts for its first kind.

    Kinds: identical (the same file), as it is, mirrored, flipped, turned.
    """
    splits = dataset.catalogue["split"].to_numpy()
    identical = group_rows(len(splits), identical_pairs(dataset))
    near, kinds = pair_kinds(dataset, difference)
    # of equal images the index compares the first alone: its pairs are those of its group
    equal = equal_groups(dataset)
    pairs = {kind: equal[near[kinds == kind]] for kind in dict.fromkeys(KINDS)}
    itself = np.stack([equal, equal], axis=1)
    pairs["as it is"] = np.concatenate([pairs["as it is"], itself])

    def in_training(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Whether the group of each row is in a pair with a group that has a training image."""
        both = np.concatenate([pairs, pairs[:, ::-1]])
        trained = np.isin(both[:, 1], groups[splits == "train"])
        return np.isin(groups, both[trained, 0])

    counts: dict[str, int] = {}
    left = splits == "test"
    found = {"identical": in_training(identical, np.stack([identical, identical], axis=1))}
    found |= {kind: in_training(equal, of_kind) for kind, of_kind in pairs.items()}
    for kind, has_copy in found.items():
        counts[kind] = int((left & has_copy).sum())
        left &= ~has_copy
    return counts


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

    identical = findings["identical"]
    near = _group_members(near_groups(dataset, difference))
    counts: dict[str, Any] = {
        "symmetries": dataset.manifest.symmetries,
        "identical_groups": len(identical.groups),
        "identical_files": identical.images,
        "redundant_files": identical.images - len(identical.groups),
        "test_images_identical_to_training": count_leaked("identical-across"),
        "label_conflicts": len(findings["identical-labels"].groups),
        "near_duplicate_threshold": difference,
        "near_duplicate_groups": len(near),
        "near_duplicate_images": sum(map(len, near)),
        "largest_near_duplicate_group": max(map(len, near), default=0),
        "largest_near_duplicate_group_starts_with": (
            dataset.catalogue["image"][near[0][0]] if near else ""
        ),
        "distinct_images": distinct_images(dataset, difference),
        "test_images_near_training": count_leaked("near-across"),
        "test_images_with_copy_in_training": copies_in_training(dataset, difference),
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
