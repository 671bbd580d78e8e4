"""The job that creates a synthetic set from the images of another that pass filters.

The other set is not changed, so that removed images can still be inspected.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rebalance_core.config import Config, NewSynthetic, Seed, SyntheticRef
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.distances import squared_distances
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.quality import is_near_copy, repeats_earlier
from rebalance_core.synthesis.records import FilterSource, FilterStep, Provenance
from rebalance_core.synthesis.scoring import TRAINING, load_or_train_scorer
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    check_new_name,
    is_complete,
    list_synthetic,
    open_synthetic,
    publish_set,
)
from rebalance_core.system.files import write_bytes
from rebalance_core.training_sets.load import load_part
from rebalance_core.workspace import Workspace

BY_HAND = "by hand"
_SEPARATOR = re.compile(r"(?<=\.png)\s*,")
REASONS = {  # filter → why an image was removed
    BY_HAND: "removed by hand",
    "copies": "near-copy of a training image",
    "twins": "near-copy of an earlier generated image",
    "confidence": "low confidence of its class",
    "distance": "too far from the real images",
}


class FilterConfig(Config):
    """Which images of `synthetic` are not copied to `name`; at least one filter must be set."""

    synthetic: SyntheticRef
    name: NewSynthetic
    without: tuple[str, ...] = ()  # images to remove, as class/file
    copies: bool = False  # remove near-duplicates of a training image
    twins: bool = False  # remove near-duplicates of an earlier generated image
    # minimum probability of its class, predicted by a ResNet-18 trained on the real images
    confidence: float | None = Field(default=None, gt=0, lt=1)
    # maximum distance to the nearest real image in that ResNet-18's features, as a quantile of the
    # distances of real images to their nearest other one
    distance: float | None = Field(default=None, gt=0, le=1)
    epochs: int = Field(default=20, ge=1, le=1000)  # of that ResNet-18
    seed: Seed = 0  # of that ResNet-18

    @property
    def values(self) -> dict[str, Any]:
        """{filter: its value} of the filters that are set, in the order of application."""
        values = {
            BY_HAND: list(self.without),
            "copies": self.copies,
            "confidence": self.confidence,
            "distance": self.distance,
            "twins": self.twins,
        }
        return {name: value for name, value in values.items() if value}


def parse_image_names(texts: Iterable[str]) -> tuple[str, ...]:
    """`["glioma/000003.png,glioma/000007.png", …]` → unique names; a class may contain commas."""
    parts = (part.strip() for text in texts for part in _SEPARATOR.split(text))
    return tuple(dict.fromkeys(part for part in parts if part))


def check_filter(workspace: Workspace, config: FilterConfig) -> SyntheticSet:
    """The set to filter; raises UserError where the job would fail."""
    check_new_name(workspace, config.name)
    synthetic = open_synthetic(workspace, config.synthetic)
    if not config.values:
        raise UserError("No filter is set; choose confidence, distance, copies, twins or images.")
    names = {_image_name(file) for label in synthetic.counts for file in synthetic.files(label)}
    unknown = [image for image in config.without if image not in names]
    if unknown:
        raise UserError(
            f"Synthetic set {synthetic.name} has no image {unknown[0][:200]!r}; write images as "
            "class/000000.png."
        )
    return synthetic


def filter_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = FilterConfig.build(**run.config)
    if is_complete(workspace, config.name, run.id):
        return {"synthetic": config.name}
    synthetic = check_filter(workspace, config)
    removed = find_removed(workspace, config, synthetic, run)
    names = {n for by_class in removed.values() for images in by_class.values() for n in images}
    remaining = {
        label: [f for f in synthetic.files(label) if _image_name(f) not in names]
        for label in synthetic.counts
    }
    empty = [label for label, files in remaining.items() if not files]
    if empty:
        raise UserError(f"These filters would remove all images of {', '.join(empty)}; relax them.")
    # Files keep their names: image k stays that of the seed and k.
    folder = workspace.partial_samples(run.id)
    for label, files in remaining.items():
        _copy_missing(folder / label, files)
        if run.should_stop():
            raise Cancelled
    run.progress(1.0, "written")
    provenance = _provenance(config, synthetic, removed, remaining)
    publish_set(workspace, config.name, run.id, provenance)
    return {"synthetic": config.name, "kept": {label: len(f) for label, f in remaining.items()}}


def _copy_missing(folder: Path, files: Iterable[Path]) -> None:
    """Copy `files` to `folder`, except those copied before a kill."""
    sources = {file.name: file for file in files}
    copies = {file.name: file for file in folder.glob("*.png")}
    for name in copies.keys() - sources.keys():  # a GPU may not reproduce the first attempt exactly
        copies[name].unlink()
    for name in sorted(sources.keys() - copies.keys()):
        write_bytes(folder / name, sources[name].read_bytes())


def _provenance(
    config: FilterConfig,
    synthetic: SyntheticSet,
    removed: Mapping[str, dict[str, list[str]]],
    remaining: Mapping[str, list[Path]],
) -> Provenance:
    """The provenance of the filtered set: that of its source with these filters added."""
    source = synthetic.provenance
    steps = [
        FilterStep(
            name=name,
            value=value,
            training_set=None if name in (BY_HAND, "twins") else synthetic.training_set,
            source=FilterSource(name=synthetic.name, provenance=source.digest),
            removed=removed[name],
        )
        for name, value in config.values.items()
    ]
    earlier = [*source.earlier_runs, source.sample_run]
    return source.model_copy(
        update={
            "earlier_runs": [run for run in earlier if run],
            "counts": {label: len(files) for label, files in remaining.items()},
            "filters": [*source.filters, *steps],
        }
    )


def find_removed(
    workspace: Workspace, config: FilterConfig, synthetic: SyntheticSet, run: RunDirectory
) -> dict[str, dict[str, list[str]]]:
    """{filter: {class: images that it removes}}; an image counts for the first that removes it."""
    predicates = _predicates(workspace, config, synthetic, run)
    removed: dict[str, dict[str, list[str]]] = {name: {} for name in predicates}
    total = len(synthetic.counts)
    for index, label in enumerate(synthetic.counts):
        run.progress(TRAINING + (1 - TRAINING) * index / total, f"filtering {label}")
        if run.should_stop():
            raise Cancelled
        remaining = synthetic.files(label)
        for name, predicate in predicates.items():
            # Applied to what remains: once an image is removed, its near-copies may stay.
            mask = predicate(label, remaining) if remaining else ()
            rejected = {f for f, is_rejected in zip(remaining, mask, strict=True) if is_rejected}
            removed[name][label] = [_image_name(file) for file in remaining if file in rejected]
            remaining = [file for file in remaining if file not in rejected]
    return removed


def _image_name(file: Path) -> str:
    """class/000000.png"""
    return f"{file.parent.name}/{file.name}"


Predicate = Callable[[str, list[Path]], np.ndarray]  # class, its files → which to remove, bool (n,)


def _predicates(
    workspace: Workspace, config: FilterConfig, synthetic: SyntheticSet, run: RunDirectory
) -> dict[str, Predicate]:
    """The filters that are set, in the order of application."""
    without = set(config.without)
    predicates: dict[str, Predicate] = {}
    if config.without:
        predicates[BY_HAND] = lambda label, files: np.array(
            [_image_name(file) in without for file in files]
        )
    if config.copies or config.confidence or config.distance:
        predicates |= _predicates_by_real(workspace, config, synthetic, run)
    if config.twins:
        dataset = open_dataset(workspace, synthetic.training_set.config.dataset)
        predicates["twins"] = lambda label, files: repeats_earlier(
            synthetic.images_of(files), dataset.symmetries
        )
    return predicates


def _predicates_by_real(
    workspace: Workspace, config: FilterConfig, synthetic: SyntheticSet, run: RunDirectory
) -> dict[str, Predicate]:
    """The filters that compare with the real images of the training set."""
    training_set = synthetic.training_set
    dataset = open_dataset(workspace, training_set.config.dataset)
    real = load_part(dataset, training_set, "train", synthetic.provenance.size)
    predicates: dict[str, Predicate] = {}
    if config.copies:
        predicates["copies"] = lambda label, files: is_near_copy(
            synthetic.images_of(files), real.images, dataset.symmetries
        )
    if not (config.confidence or config.distance):
        return predicates
    scorer = load_or_train_scorer(dataset, training_set, real, config.epochs, config.seed, run)
    if (threshold := config.confidence) is not None:

        def is_unconfident(label: str, files: list[Path]) -> np.ndarray:
            probabilities = scorer(synthetic.images_of(files))[0]
            return np.asarray(probabilities[:, training_set.class_index(label)] < threshold)

        predicates["confidence"] = is_unconfident
    if (quantile := config.distance) is not None:

        def is_far(label: str, files: list[Path]) -> np.ndarray:
            same_class = real.images[real.labels == training_set.class_index(label)]
            features = scorer(synthetic.images_of(files))[1]
            return is_too_far(features, scorer(same_class)[1], quantile)

        predicates["distance"] = is_far
    return predicates


def is_too_far(features: np.ndarray, real: np.ndarray, quantile: float) -> np.ndarray:
    """Which generated features (n, d) are too far from their nearest real ones (m, d): bool (n,).

    The limit is a quantile of the distances of real features to their nearest other one; with
    fewer than two real ones there is no limit.
    """
    if len(real) < 2:
        return np.zeros(len(features), bool)
    distances = squared_distances(real, real)
    np.fill_diagonal(distances, np.inf)
    limit = np.quantile(np.sqrt(distances.min(axis=1)), quantile)
    far: np.ndarray = np.sqrt(squared_distances(features, real).min(axis=1)) > limit
    return far


@dataclass(frozen=True)
class RemovedImage:
    """An image that a filter removed."""

    image: str  # class/000000.png
    reason: str
    file: Path | None  # in the set that was filtered; None where that set does not exist any more


def removed_images(workspace: Workspace, synthetic: SyntheticSet, label: str) -> list[RemovedImage]:
    """The images of a class that filters removed. They are stored only in the set that was
    filtered, so that they are deleted with it."""
    images = []
    for step in synthetic.provenance.filters:
        source = _open_source(workspace, step.source)
        files = {} if source is None else {_image_name(f): f for f in source.files(label)}
        for image in step.removed.get(label, []):
            reason = REASONS.get(step.name, step.name)
            images.append(RemovedImage(image, reason, files.get(image)))
    return images


def _open_source(workspace: Workspace, source: FilterSource) -> SyntheticSet | None:
    """The set that was filtered; None where it was removed or replaced by another of its name."""
    if source.name not in list_synthetic(workspace):
        return None
    try:
        synthetic = open_synthetic(workspace, source.name)
    except UserError:  # damaged
        return None
    return synthetic if synthetic.provenance.digest == source.provenance else None
