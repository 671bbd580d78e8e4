"""Resolve training sets to image ids, save and read them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rebalance_core.config import STRICT, Reference, problem, read_model, references
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.datasets.duplicates import MAX_DIFFERENCE, near_groups
from rebalance_core.errors import UserError
from rebalance_core.system.files import create_json, read_json
from rebalance_core.training_sets.config import OPEN, RESERVED, SetConfig, TestPart
from rebalance_core.training_sets.skew import limited_counts, reduced_counts, skewed_counts
from rebalance_core.training_sets.splits import Split, split_rows
from rebalance_core.workspace import Workspace, check_name

REMEDY = "make it again, or remove it"
Count = Annotated[int, Field(ge=0, lt=2**53)]
Names = Annotated[tuple[str, ...], Field(strict=False)]  # JSON has no tuples


class TrainingSet(BaseModel):
    """Image ids of each part; saved as `sets/<name>.json` and copied into every run."""

    model_config = STRICT | ConfigDict(frozen=True, extra="forbid")
    name: str
    config: SetConfig
    fingerprint: str  # of the dataset
    classes: Annotated[Names, Field(min_length=1)]
    counts: dict[str, Count]  # {class: training images}
    train: Names
    validation: Names
    test: Names
    dropped: dict[str, Count] = {}  # {part: images removed by the split}
    reserved: dict[TestPart, Names] = {}  # {other part of the test images: images}
    test_part: TestPart = OPEN  # the one that `test` is
    clustered: Names = ()  # the images that the clustering of its poses was fitted on

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_format(cls, value: Any) -> Any:
        """Sets of versions up to 0.1 kept validation whole, and drew test images by `seed`."""
        config = value.get("config") if isinstance(value, dict) else None
        if not isinstance(config, dict) or "validation_skew" in config:
            return value
        earlier = {"validation_skew": "whole", "test_seed": config.get("seed", 0)}
        if isinstance(difference := config.get("difference"), float):
            earlier["difference"] = min(difference, MAX_DIFFERENCE)
        return {**value, "config": {**config, **earlier}}

    @model_validator(mode="after")
    def _parts_are_consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is listed twice")
        if set(self.counts) != set(self.classes):
            raise ValueError("counts are not those of the classes")
        if sum(self.counts.values()) != len(self.train):
            raise ValueError("counts do not add up to the number of training images")
        reserved = [image for part in self.reserved.values() for image in part]
        ids = [*self.train, *self.validation, *self.test, *reserved]
        if len(set(ids)) < len(ids):
            raise ValueError("an image is listed twice")
        if {self.test_part, *self.reserved} != {OPEN, *RESERVED[: self.config.reserve]}:
            raise ValueError("reserved parts are not those of the config")
        return self

    @property
    def majority(self) -> list[str]:
        """The most frequent training classes (several if tied)."""
        most = max(self.counts.values())
        return [c for c in self.classes if self.counts[c] == most]

    @property
    def minority(self) -> list[str]:
        return [c for c in self.classes if c not in self.majority]

    @property
    def ratio(self) -> float:
        """Imbalance ratio, largest : smallest class."""
        return max(self.counts.values()) / max(1, min(self.counts.values()))

    @property
    def test_parts(self) -> dict[str, tuple[str, ...]]:
        """{part of the test images: ids}, the open one first."""
        parts = {self.test_part: self.test, **self.reserved}
        return {name: parts[name] for name in (OPEN, *RESERVED) if name in parts}

    def with_test_part(self, part: TestPart) -> Self:
        """The set with another part of the test images as `test`; raises UserError without it."""
        parts = self.test_parts
        if part not in parts:
            raise UserError(
                f"Training set {self.name} has no reserved part {part} (its test parts: "
                f"{', '.join(parts)}); make one with `sets make --reserve`."
            )
        test = parts.pop(part)
        return self.model_copy(update={"test": test, "reserved": parts, "test_part": part})

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def class_index(self, label: str) -> int:
        """The index of a class; raises UserError if the set does not have it."""
        if label not in self.classes:
            known = ", ".join(self.classes)
            raise UserError(f"Training set {self.name} has no class {label!r}; it has {known}.")
        return self.classes.index(label)

    @classmethod
    def from_json(cls, value: Any, source: Path | str = "The training set") -> Self:
        """Validate a JSON value; raises UserError, naming `source`, if it is invalid."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise UserError(f"{source} is damaged ({problem(error)}); {REMEDY}.") from error


def make_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Resolve and save a training set; raises UserError if the name exists."""
    check_set_name(workspace, name)
    training_set = resolve_set(workspace, name, config)
    return _save_new(workspace, training_set)


def _save_new(workspace: Workspace, training_set: TrainingSet) -> TrainingSet:
    """Save a set; raises UserError if another process has saved one of this name meanwhile."""
    name = training_set.name
    try:
        create_json(workspace.sets / f"{name}.json", training_set.to_json())
    except FileExistsError as error:
        raise UserError(
            f"Another process created {name!r} in the meantime; choose another name."
        ) from error
    return training_set


def check_set_name(workspace: Workspace, name: str) -> None:
    """Raise UserError unless `name` is valid and free for a training set."""
    check_name(name, "training set name")
    if (workspace.sets / f"{name}.json").exists() or name in list_datasets(workspace):
        raise UserError(f"{name!r} is taken by another training set or dataset; choose another.")


def open_set(workspace: Workspace, name: str) -> TrainingSet:
    """A saved set, or, for the name of a dataset, its official split without a skew."""
    if name in list_sets(workspace):  # not by path, against names such as ../x
        return read_set(workspace.sets / f"{name}.json")
    if name in list_datasets(workspace):
        return resolve_set(workspace, name, SetConfig(dataset=name))
    known = ", ".join([*list_sets(workspace), *list_datasets(workspace)]) or "none yet"
    raise UserError(f"There is no training set or dataset {name!r} (there is: {known}).")


def read_set(path: Path) -> TrainingSet:
    """Read a training set from its file.

    Raises UserError if it is missing or damaged.
    """
    return read_model(TrainingSet, path, REMEDY)


def open_sets(workspace: Workspace) -> tuple[list[TrainingSet], dict[str, str]]:
    """All readable saved sets, and {name: error} of the damaged ones."""
    readable, damaged = [], {}
    for name in list_sets(workspace):
        try:
            readable.append(open_set(workspace, name))
        except UserError as error:
            damaged[name] = str(error)
    return readable, damaged


def list_sets(workspace: Workspace) -> list[str]:
    return sorted(p.stem for p in workspace.sets.glob("[!.]*.json"))


def set_references(workspace: Workspace, name: str) -> list[tuple[Reference, str]]:
    """What a set depends on: its dataset, or the poses of the dataset if it selects any.

    The name of a dataset is a set of that dataset. A damaged file has no references.
    """
    path = workspace.sets / f"{Path(name).name}.json"
    if not path.exists():
        return [(Reference("dataset"), name)]
    config = _stored_config(path, path.stat().st_mtime_ns)
    targets = references(SetConfig, config)
    return [(Reference("poses"), n) for _, n in targets] if config.get("poses") else targets


@lru_cache(maxsize=256)
def _stored_config(path: Path, changed: int) -> dict[str, Any]:
    """The config in the file of a set, cached until it changes: the file lists all images."""
    try:
        value = read_json(path)
    except UserError:
        return {}
    config = value.get("config") if isinstance(value, dict) else None
    return config if isinstance(config, dict) else {}


def resolve_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Select the parts: the same config gives the same ids, a stronger skew a subset."""
    dataset = open_dataset(workspace, config.dataset)
    split, train = _split(dataset, config)
    dropped, validation = dict(split.dropped), split.validation
    if len(train) < len(split.train):
        dropped["train"] = dropped.get("train", 0) + len(split.train) - len(train)
    orders = _orders(dataset, train, [config.seed, 1])
    validation_orders = _orders(dataset, validation, [config.seed, 4])
    available = {c: len(rows) for c, rows in orders.items()}
    reserved = dict(zip(RESERVED, split.reserved, strict=False))
    tests = {"test": split.test, **{f"reserve as part {p}": r for p, r in reserved.items()}}
    _check_parts(name, available, {"validate": validation, **tests})
    counts = skewed_counts(config.skew, available)
    validation_counts = {c: len(rows) for c, rows in validation_orders.items()}
    if config.validation_skew == "skewed":
        validation_counts = reduced_counts(validation_counts, counts, available)
    has_pose, clustered = _has_pose(dataset, config.poses)

    def draw(rows: dict[str, np.ndarray], numbers: dict[str, int]) -> dict[str, np.ndarray]:
        drawn = {c: rows[c][: numbers[c]] for c in rows}
        return {c: part[has_pose[part]] for c, part in drawn.items()}

    selected = draw(orders, counts)
    counts = limited_counts({c: len(rows) for c, rows in selected.items()}, config.limit)
    train = np.sort(np.concatenate([rows[: counts[c]] for c, rows in selected.items()]))
    validation = np.sort(np.concatenate(list(draw(validation_orders, validation_counts).values())))
    _check_parts(name, counts, {"validate": validation})
    images = dataset.catalogue["image"].to_numpy()
    return TrainingSet(
        name=name,
        config=config,
        fingerprint=dataset.fingerprint,
        classes=tuple(dataset.classes),
        counts=counts,
        train=tuple(images[train]),
        validation=tuple(images[validation]),
        test=tuple(images[split.test]),
        dropped={part: n for part, n in dropped.items() if n},
        reserved={part: tuple(images[rows]) for part, rows in reserved.items()},
        clustered=clustered,
    )


def withheld_images(workspace: Workspace, training_set: TrainingSet) -> dict[str, tuple[str, ...]]:
    """{class: training images that skew and limit left out, in the order a weaker skew adds them}.

    They have the poses of the set, and are in none of its parts.
    """
    config = training_set.config
    dataset = open_dataset(workspace, config.dataset)
    rows = _orders(dataset, _split(dataset, config)[1], [config.seed, 1])
    has_pose, _ = _has_pose(dataset, config.poses)
    images = dataset.catalogue["image"].to_numpy()
    used = {*training_set.train, *training_set.validation}
    return {
        label: tuple(i for i in images[order[has_pose[order]]] if i not in used)
        for label, order in rows.items()
    }


def _split(dataset: Dataset, config: SetConfig) -> tuple[Split, np.ndarray]:
    """The parts of a dataset, and the rows of training, distinct ones if the config says so."""
    split = split_rows(
        dataset,
        config.split,
        config.difference,
        config.validation,
        config.seed,
        config.test_seed,
        config.reserve,
    )
    if not config.distinct:
        return split, split.train
    groups = near_groups(dataset, config.difference)[split.train]
    return split, split.train[np.sort(np.unique(groups, return_index=True)[1])]


def make_subset(
    workspace: Workspace, name: str, parent: TrainingSet, poses: Sequence[str]
) -> TrainingSet:
    """Save the images of a set that have one of `poses`: always a subset, with the same test."""
    check_set_name(workspace, name)
    if not poses:
        raise UserError("Name at least one pose; a subset has the images of those poses.")
    if parent.config.poses and (others := sorted(set(poses) - set(parent.config.poses))):
        raise UserError(
            f"Training set {parent.name} has no pose {', '.join(others)}; it has "
            f"{', '.join(parent.config.poses)}."
        )
    dataset = open_dataset(workspace, parent.config.dataset)
    if dataset.fingerprint != parent.fingerprint:
        raise UserError(
            f"Training set {parent.name} was made from another version of dataset {dataset.name}; "
            "make the set again with `sets make`."
        )
    has_pose, clustered = _has_pose(dataset, tuple(poses))
    images, labels = (dataset.catalogue[name].to_numpy() for name in ("image", "class"))
    chosen = set(images[has_pose])
    train, validation = (
        tuple(i for i in part if i in chosen) for part in (parent.train, parent.validation)
    )
    found = Counter(labels[[dataset.rows[i] for i in train]])
    counts = {c: found[c] for c in parent.classes}
    _check_parts(name, counts, {"validate": validation})
    training_set = parent.model_copy(
        update={
            "name": name,
            "config": parent.config.model_copy(update={"poses": tuple(poses)}),
            "counts": counts,
            "train": train,
            "validation": validation,
            "clustered": clustered,
        }
    )
    return _save_new(workspace, training_set)


def _check_parts(
    name: str, counts: dict[str, int], parts: Mapping[str, Sequence[Any] | np.ndarray]
) -> None:
    """Raise UserError if a class has no training image, or a part no image."""
    if missing := [c for c, number in counts.items() if not number]:
        raise UserError(
            f"Training set {name} would have no image of {', '.join(missing)}; choose another "
            "split, more poses or another dataset."
        )
    for purpose, images in parts.items():
        if not len(images):
            raise UserError(
                f"Training set {name} would have no image to {purpose} on: there are too few "
                "classes, patients or groups of near-duplicates to hold one out; add images, or "
                "choose another split or more poses."
            )


def _orders(dataset: Dataset, rows: np.ndarray, seed: list[int]) -> dict[str, np.ndarray]:
    """{class: its rows in the order of drawing}; the first ones are drawn, so that sets nest."""
    labels = dataset.catalogue["class"].to_numpy()[rows]
    orders = {}
    for number, label in enumerate(dataset.classes):
        in_class = rows[labels == label]
        permutation = np.random.default_rng([*seed, number]).permutation(len(in_class))
        orders[label] = in_class[permutation]
    return orders


def _has_pose(dataset: Dataset, poses: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whether each row of the catalogue has one of the poses, and the ids they were fitted on.

    All rows, and no ids, if there are no poses.
    """
    catalogue = dataset.catalogue
    if not poses:
        return np.ones(len(catalogue), bool), ()
    from rebalance_core.poses.clustering import open_clustering

    clustering = open_clustering(dataset)
    assignments = clustering.assignments
    unknown = set(poses) - set(assignments["pose"])
    if unknown:
        known = ", ".join(sorted(set(assignments["pose"])))
        raise UserError(f"Dataset {dataset.name} has no pose {', '.join(unknown)}; it has {known}.")
    images = set(assignments.loc[assignments["pose"].isin(poses), "image"])
    has_pose: np.ndarray = catalogue["image"].isin(images).to_numpy()
    return has_pose, tuple(clustering.fitted_on)
