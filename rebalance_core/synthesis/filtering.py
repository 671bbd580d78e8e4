"""The job that makes a synthetic set of the images of another that pass filters. The other one
stays as it is: what was taken out can be seen there, and nothing is lost."""

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
from rebalance_core.synthesis.quality import copied, twins
from rebalance_core.synthesis.records import FilterSource, FilterStep, Provenance
from rebalance_core.synthesis.scoring import TRAINING, kept_scorer
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
_BETWEEN = re.compile(r"(?<=\.png)\s*,")
WORDS = {  # filter → why an image was taken out
    BY_HAND: "thrown away by hand",
    "copies": "near-copy of a training image",
    "twins": "near-copy of a generated image before it",
    "confidence": "not confidently of its class",
    "distance": "too far from the real images",
}


class FilterConfig(Config):
    """Which images of `synthetic` don't come into `name`. At least one filter is named."""

    synthetic: SyntheticRef
    name: NewSynthetic
    without: tuple[str, ...] = ()  # class/file, thrown away by hand
    copies: bool = False  # near-duplicates of a training image
    twins: bool = False  # near-duplicates of a generated image before them
    # least probability of its class that a ResNet-18 trained on the real images gives it
    confidence: float | None = Field(default=None, gt=0, lt=1)
    # quantile of the distances of real images to their nearest other one, in that ResNet-18's
    # features: no image may be farther from its nearest real one
    distance: float | None = Field(default=None, gt=0, le=1)
    epochs: int = Field(default=20, ge=1, le=1000)  # of that ResNet-18
    seed: Seed = 0  # of it

    @property
    def values(self) -> dict[str, Any]:
        """{filter: what is asked of it}, in the order in which they are applied."""
        asked = {
            BY_HAND: list(self.without),
            "copies": self.copies,
            "confidence": self.confidence,
            "distance": self.distance,
            "twins": self.twins,
        }
        return {name: value for name, value in asked.items() if value}


def named_images(texts: Iterable[str]) -> tuple[str, ...]:
    """`["glioma/000003.png,glioma/000007.png", …]` → each image once; a class may hold commas."""
    parts = (part.strip() for text in texts for part in _BETWEEN.split(text))
    return tuple(dict.fromkeys(part for part in parts if part))


def check_filter(workspace: Workspace, config: FilterConfig) -> SyntheticSet:
    """The set to filter; raises UserError before any work for what cannot be done."""
    check_new_name(workspace, config.name)
    found = open_synthetic(workspace, config.synthetic)
    if not config.values:
        raise UserError("No filter is named; choose confidence, distance, copies, twins or images.")
    there = {_image(file) for label in found.counts for file in found.files(label)}
    unknown = [image for image in config.without if image not in there]
    if unknown:
        raise UserError(
            f"Synthetic set {found.name} has no image {unknown[0][:200]!r}; name them as "
            "class/000000.png."
        )
    return found


def filter_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = FilterConfig.build(**run.config)
    if is_complete(workspace, config.name, run.id):
        return {"synthetic": config.name}
    found = check_filter(workspace, config)
    removed = find_removed(workspace, config, found, run)
    out = {name for by_class in removed.values() for names in by_class.values() for name in names}
    kept = {
        label: [f for f in found.files(label) if _image(f) not in out] for label in found.counts
    }
    empty = [label for label, files in kept.items() if not files]
    if empty:
        raise UserError(
            f"These filters would leave no image of {', '.join(empty)}; choose milder ones."
        )
    # Files keep their names: image k stays the image of seed and k.
    aside = workspace.partial_samples(run.id)
    for label, files in kept.items():
        _fill(aside / label, files)
        if run.should_stop():
            raise Cancelled
    run.progress(1.0, "written")
    publish_set(workspace, config.name, run.id, _provenance(config, found, removed, kept))
    return {"synthetic": config.name, "kept": {label: len(f) for label, f in kept.items()}}


def _fill(folder: Path, files: Iterable[Path]) -> None:
    """Copy the files that are not there yet; what is there came before a kill."""
    wanted = {file.name: file for file in files}
    there = {file.name: file for file in folder.glob("*.png")}
    for name in there.keys() - wanted.keys():  # a GPU may decide otherwise the second time
        there[name].unlink()
    for name in sorted(wanted.keys() - there.keys()):
        write_bytes(folder / name, wanted[name].read_bytes())


def _provenance(
    config: FilterConfig,
    found: SyntheticSet,
    removed: Mapping[str, dict[str, list[str]]],
    kept: Mapping[str, list[Any]],
) -> Provenance:
    before = found.provenance
    chosen = found.training_set
    filters = [
        FilterStep(
            name=name,
            value=value,
            training_set=None if name in (BY_HAND, "twins") else chosen,
            source=FilterSource(name=found.name, provenance=before.digest),
            removed=removed[name],
        )
        for name, value in config.values.items()
    ]
    earlier = [*before.earlier_runs, before.sample_run]
    return before.model_copy(
        update={
            "earlier_runs": [run for run in earlier if run],
            "counts": {label: len(files) for label, files in kept.items()},
            "filters": [*before.filters, *filters],
        }
    )


def find_removed(
    workspace: Workspace, config: FilterConfig, found: SyntheticSet, run: RunDirectory
) -> dict[str, dict[str, list[str]]]:
    """{filter: {class: images it takes out}}, each image by the first filter that does."""
    tests = _tests(workspace, config, found, run)
    removed: dict[str, dict[str, list[str]]] = {name: {} for name in tests}
    for number, label in enumerate(found.counts):
        run.progress(TRAINING + (1 - TRAINING) * number / len(found.counts), f"filtering {label}")
        if run.should_stop():
            raise Cancelled
        left = found.files(label)
        for name, bad in tests.items():
            # Of those that are left alone: the twin of an image that is gone has none any more.
            goes = dict(zip(left, bad(label, left), strict=True)) if left else {}
            removed[name][label] = [_image(file) for file in left if goes[file]]
            left = [file for file in left if not goes[file]]
    return removed


def _image(file: Path) -> str:
    """class/000000.png"""
    return f"{file.parent.name}/{file.name}"


Test = Callable[[str, list[Path]], np.ndarray]  # a class and files of it → which go, bool (n,)


def _tests(
    workspace: Workspace, config: FilterConfig, found: SyntheticSet, run: RunDirectory
) -> dict[str, Test]:
    """The filters that are asked for, in their order, each made ready once for all classes."""
    by_hand = set(config.without)
    tests: dict[str, Test] = {}
    if config.without:
        tests[BY_HAND] = lambda label, files: np.array([_image(f) in by_hand for f in files])
    if config.copies or config.confidence or config.distance:
        tests |= _tests_by_real(workspace, config, found, run)
    if config.twins:
        tests["twins"] = lambda label, files: twins(found.images_of(files))
    return tests


def _tests_by_real(
    workspace: Workspace, config: FilterConfig, found: SyntheticSet, run: RunDirectory
) -> dict[str, Test]:
    """Those that look at the training set's real images."""
    chosen = found.training_set
    dataset = open_dataset(workspace, chosen.config.dataset)
    real = load_part(dataset, chosen, "train", found.provenance.size)
    tests: dict[str, Test] = {}
    if config.copies:
        tests["copies"] = lambda label, files: copied(found.images_of(files), real.images)
    if not (config.confidence or config.distance):
        return tests
    judge = kept_scorer(dataset, chosen, real, config.epochs, config.seed, run)
    if (least := config.confidence) is not None:

        def unsure(label: str, files: list[Path]) -> np.ndarray:
            sure = judge(found.images_of(files))[0][:, chosen.class_index(label)]
            return np.asarray(sure < least)

        tests["confidence"] = unsure
    if (quantile := config.distance) is not None:

        def far(label: str, files: list[Path]) -> np.ndarray:
            mine = real.images[real.labels == chosen.class_index(label)]
            return too_far(judge(found.images_of(files))[1], judge(mine)[1], quantile)

        tests["distance"] = far
    return tests


def too_far(features: np.ndarray, real: np.ndarray, quantile: float) -> np.ndarray:
    """Which generated features (n, d) lie farther from their nearest real one (m, d) than that
    quantile of the real ones' distances to their nearest other: bool (n,); none where one real
    image has no other."""
    if len(real) < 2:
        return np.zeros(len(features), bool)
    among = squared_distances(real, real)
    np.fill_diagonal(among, np.inf)
    limit = np.quantile(np.sqrt(among.min(axis=1)), quantile)
    far: np.ndarray = np.sqrt(squared_distances(features, real).min(axis=1)) > limit
    return far


@dataclass(frozen=True)
class Removed:
    """An image that a filter took out, and its file as long as the set it came from is there."""

    image: str  # class/000000.png
    why: str
    file: Path | None


def removed_images(workspace: Workspace, found: SyntheticSet, label: str) -> list[Removed]:
    """What filters took out of a class. Their pictures are those of the set that was filtered: no
    second copy is kept, so that they go when that set is removed."""
    told = []
    for step in found.provenance.filters:
        source = _open_source(workspace, step.source)
        files = {} if source is None else {_image(file): file for file in source.files(label)}
        for image in step.removed.get(label, []):
            told.append(Removed(image, WORDS.get(step.name, step.name), files.get(image)))
    return told


def _open_source(workspace: Workspace, source: FilterSource) -> SyntheticSet | None:
    """The set that was filtered; None if it is gone, also where another has its name now."""
    if source.name not in list_synthetic(workspace):
        return None
    try:
        found = open_synthetic(workspace, source.name)
    except UserError:  # damaged: not what it was, either
        return None
    return found if found.provenance.digest == source.provenance else None
