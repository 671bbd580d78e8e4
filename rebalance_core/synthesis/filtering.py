"""The job that makes a synthetic set of the images of another that pass filters. The other one
stays as it is: what was taken out can be seen there, and nothing is lost."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from rebalance_core.config import Config, Seed
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.training_set import Images, TrainingSet, load_part
from rebalance_core.errors import UserError
from rebalance_core.files import write_bytes
from rebalance_core.runs.run import Cancelled, RunDirectory
from rebalance_core.synthesis.nearest import squared_distances
from rebalance_core.synthesis.quality import copied, twins
from rebalance_core.synthesis.scoring import TRAINING, kept_scorer
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    check_free,
    finish_set,
    list_synthetic,
    open_synthetic,
    was_finished,
)
from rebalance_core.workspace import Workspace

BY_HAND = "by hand"
WORDS = {  # filter → why an image was taken out
    BY_HAND: "thrown away by hand",
    "copies": "near-copy of a training image",
    "twins": "near-copy of a generated image before it",
    "confidence": "not confidently of its class",
    "distance": "too far from the real images",
}


class FilterConfig(Config):
    """Which images of `synthetic` don't come into `name`. At least one filter is named."""

    synthetic: str
    name: str  # of the set that is made
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
        """{filter: what is asked of it}, in the order in which they are told."""
        asked = {
            BY_HAND: list(self.without), "copies": self.copies, "twins": self.twins,
            "confidence": self.confidence, "distance": self.distance,
        }  # fmt: skip
        return {name: value for name, value in asked.items() if value}


def check_filter(workspace: Workspace, config: FilterConfig) -> SyntheticSet:
    """The set to filter; raises UserError before any work for what cannot be done."""
    check_free(workspace, config.name)
    found = open_synthetic(workspace, config.synthetic)
    if not config.values:
        raise UserError("No filter is named; choose confidence, distance, copies, twins or images.")
    there = {f"{label}/{file.name}" for label in found.counts for file in found.files(label)}
    unknown = [image for image in config.without if image not in there]
    if unknown:
        raise UserError(
            f"Synthetic set {found.name} has no image {unknown[0][:200]!r}; name them as "
            "class/000000.png."
        )
    return found


def filter_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = FilterConfig.build(**run.config)
    if was_finished(workspace, config.name, run.id):
        return {"synthetic": config.name}
    found = check_filter(workspace, config)
    removed = find_removed(workspace, config, found, run)
    out = {name for by_class in removed.values() for names in by_class.values() for name in names}
    kept = {
        label: [f for f in found.files(label) if f"{label}/{f.name}" not in out]
        for label in found.counts
    }
    empty = [label for label, files in kept.items() if not files]
    if empty:
        raise UserError(
            f"These filters would leave no image of {', '.join(empty)}; choose milder ones."
        )
    # Files keep their names: image k stays the image of seed and k.
    aside = workspace.unfinished_samples(run.id)
    for label, files in kept.items():
        for file in files:
            if not (aside / label / file.name).exists():
                write_bytes(aside / label / file.name, file.read_bytes())
        if run.should_stop():
            raise Cancelled
    run.progress(1.0, "written")
    finish_set(workspace, config.name, run.id, _provenance(config, found, removed, kept))
    return {"synthetic": config.name, "kept": {label: len(f) for label, f in kept.items()}}


def _provenance(
    config: FilterConfig,
    found: SyntheticSet,
    removed: Mapping[str, dict[str, list[str]]],
    kept: Mapping[str, list[Any]],
) -> dict[str, Any]:
    chosen = found.training_set.to_json()
    filters = [
        {
            "name": name,
            "value": config.values[name],
            "training_set": None if name in (BY_HAND, "twins") else chosen,
            "from": found.name,
            "removed": removed[name],
        }
        for name in config.values
    ]
    return {
        **found.provenance,
        "counts": {label: len(files) for label, files in kept.items()},
        "filters": [*found.provenance["filters"], *filters],
    }


def find_removed(
    workspace: Workspace, config: FilterConfig, found: SyntheticSet, run: RunDirectory
) -> dict[str, dict[str, list[str]]]:
    """{filter: {class: images it takes out}}, each image by the first filter that does."""
    chosen = found.training_set
    dataset = open_dataset(workspace, chosen.config.dataset)
    real = load_part(dataset, chosen, "train", int(found.provenance["size"]))
    judge: Judge | None = None
    if config.confidence or config.distance:
        judge = kept_scorer(dataset, chosen, real, config.epochs, config.seed, run)
    removed: dict[str, dict[str, list[str]]] = {name: {} for name in config.values}
    for number, label in enumerate(found.counts):
        run.progress(TRAINING + (1 - TRAINING) * number / len(found.counts), f"filtering {label}")
        if run.should_stop():
            raise Cancelled
        names = [f"{label}/{file.name}" for file in found.files(label)]
        still = np.ones(len(names), bool)
        for name, bad in _bad(config, found.images(label), label, names, real, chosen, judge):
            removed[name][label] = [n for n, out in zip(names, bad & still, strict=True) if out]
            still &= ~bad
    return removed


Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # images → probabilities, features


def _bad(
    config: FilterConfig,
    made: np.ndarray,
    label: str,
    names: list[str],
    real: Images,
    chosen: TrainingSet,
    judge: Judge | None,
) -> list[tuple[str, np.ndarray]]:
    """Each filter that is asked for, and which of a class's images (n,) it takes out."""
    number = chosen.classes.index(label)
    out: list[tuple[str, np.ndarray]] = []
    if config.without:
        out.append((BY_HAND, np.isin(names, config.without)))
    if config.copies:
        out.append(("copies", copied(made, real.images)))
    if config.twins:
        out.append(("twins", twins(made)))
    if judge is not None:
        probabilities, features = judge(made)
        if config.confidence:
            out.append(("confidence", probabilities[:, number] < config.confidence))
        if config.distance:
            mine = judge(real.images[real.labels == number])[1]
            out.append(("distance", too_far(features, mine, config.distance)))
    return out


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


def removed_images(
    workspace: Workspace, found: SyntheticSet, label: str
) -> list[tuple[str, str, bytes | None]]:
    """What filters took out of a class: (class/file, why, the picture as long as the set that it
    was taken from is there)."""
    told = []
    there = list_synthetic(workspace)
    for step in found.provenance["filters"]:
        source = open_synthetic(workspace, step["from"]) if step["from"] in there else None
        for image in step["removed"].get(label, []):
            file = None if source is None else source.path / label / image.rpartition("/")[2]
            picture = file.read_bytes() if file is not None and file.is_file() else None
            told.append((image, WORDS[step["name"]], picture))
    return told
