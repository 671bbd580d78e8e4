"""Dataset + split + skew + poses, resolved once to image ids: all that anything learns from."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rebalance_core.config import Config, Seed, problem
from rebalance_core.datasets.dataset import Dataset, Progress, list_datasets, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.datasets.splits import SplitName, split_rows
from rebalance_core.errors import UserError
from rebalance_core.files import read_json, write_json
from rebalance_core.images import Fit
from rebalance_core.workspace import Workspace, check_name

AS_IT_IS = "as it is"
_TERM = re.compile(r"\s*(\S.*?)\s*=\s*(\d+)\s*(?:,|$)")  # a class may hold commas and signs
Part = Literal["train", "validation", "test"]


class SetConfig(Config):
    """How a training set is cut from a dataset."""

    dataset: str
    split: SplitName = "official"
    difference: float = Field(default=DEFAULT_DIFFERENCE, ge=0, le=MAX_DIFFERENCE)  # of clean: up
    # to which images count as near-duplicates, a share of contrast
    skew: str = AS_IT_IS  # as it is | step:20 | long:50 | glioma=80,pituitary=40
    poses: tuple[str, ...] = ()  # training and validation keep only these; empty: all
    limit: int | None = Field(default=None, ge=2)  # at most so many training images, in proportion
    validation: float = Field(default=0.15, gt=0, lt=0.9)  # share of training cut for validation
    fit: Fit = "pad"  # how images become squares
    seed: Seed = 0


@dataclass(frozen=True)
class TrainingSet:
    """Image ids of each part; saved as `sets/<name>.json` and copied into every run."""

    name: str
    config: SetConfig
    fingerprint: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    dropped: dict[str, int] = field(default_factory=dict)  # {part: images the split left out}

    @property
    def majority(self) -> list[str]:
        """The most frequent classes in training (several if they tie)."""
        most = max(self.counts.values())
        return [c for c in self.classes if self.counts[c] == most]

    @property
    def minority(self) -> list[str]:
        return [c for c in self.classes if c not in self.majority]

    @property
    def ratio(self) -> float:
        """Imbalance ratio: largest class : smallest class."""
        return max(self.counts.values()) / max(1, min(self.counts.values()))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "config": self.config.model_dump(mode="json")}

    def number(self, label: str) -> int:
        """The number of a class; raises UserError for one that this set does not have."""
        if label not in self.classes:
            known = ", ".join(self.classes)
            raise UserError(f"Training set {self.name} has no class {label!r}; it has {known}.")
        return self.classes.index(label)

    @classmethod
    def from_json(cls, value: Any, source: Path | str = "The training set") -> "TrainingSet":
        """Raises UserError, naming `source`, where a value is missing or not of its type."""
        try:
            _Stored.model_validate(value)
            config = SetConfig.build(**value["config"])
        except (ValidationError, UserError) as error:
            told = problem(error) if isinstance(error, ValidationError) else str(error)
            raise UserError(
                f"{source} is damaged ({told.rstrip('.')}); make it again, or remove it."
            ) from error
        lists = {k: tuple(value[k]) for k in ("classes", "train", "validation", "test")}
        return cls(**{**value, **lists, "config": config})


class _Stored(BaseModel):
    """What `TrainingSet.to_json` writes."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    config: dict[str, Any]
    fingerprint: str
    classes: Annotated[list[str], Field(min_length=1)]
    counts: dict[str, Annotated[int, Field(ge=0, lt=2**63)]]
    train: list[str]
    validation: list[str]
    test: list[str]
    dropped: dict[str, int] = {}

    @model_validator(mode="after")
    def _every_class_is_counted(self) -> "_Stored":
        if set(self.counts) != set(self.classes):
            raise ValueError("counts are not those of the classes")
        return self


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
    labels = dataset.catalogue["class"].to_numpy()[rows]
    index = {c: chosen.number(c) for c in dict.fromkeys(labels.tolist())}
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


def part_counts(dataset: Dataset, chosen: TrainingSet, part: Part) -> dict[str, int]:
    """{class: images} of one part of a training set, with 0 for a class that has none."""
    rows = _part_rows(dataset, chosen, part)
    found = Counter(dataset.catalogue["class"].to_numpy()[rows].tolist())
    return {label: found[label] for label in chosen.classes}


def absent_classes(dataset: Dataset, chosen: TrainingSet, part: Part) -> list[str]:
    """The classes that have no image in one part of a training set."""
    return [label for label, n in part_counts(dataset, chosen, part).items() if not n]


def absence_notes(dataset: Dataset, chosen: TrainingSet) -> list[str]:
    """One sentence for each part that lacks a class, with what follows from it."""
    notes = []
    if validation := absent_classes(dataset, chosen, "validation"):
        notes.append(
            f"No validation image of {', '.join(validation)}: epochs are chosen on validation, so "
            "a comparison needs some of every class and is refused."
        )
    if test := absent_classes(dataset, chosen, "test"):
        notes.append(
            f"No test image of {', '.join(test)}: every average over classes on the test split is "
            "over the other classes, the same for all arms."
        )
    return notes


def check_validation(dataset: Dataset, chosen: TrainingSet) -> None:
    """Raise UserError if validation, on which a comparison chooses epochs, lacks a class."""
    if missing := absent_classes(dataset, chosen, "validation"):
        raise UserError(
            f"Training set {chosen.name} has no validation image of {', '.join(missing)}, and a "
            "comparison chooses each classifier's epoch on validation; make a set with a larger "
            "validation fraction or another split, or add images of that class."
        )


def skewed_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    """{class: images kept} for a skew in words, never more than there are.

    step:ρ keeps 1/ρ of the largest class's count in every other class; long:ρ falls
    exponentially from the largest class to 1/ρ of it, classes ordered by their count.
    """
    if skew in (AS_IT_IS, "as-it-is"):
        return dict(available)
    most = max(available.values())
    order = sorted(available, key=lambda c: -available[c])
    if match := re.fullmatch(r"(step|long):(\d+(?:\.\d+)?)", skew):
        rho = float(match[2])
        if rho < 1:
            raise UserError(f"Skew {skew!r}: the ratio must be at least 1.")
        steps = {c: k / max(1, len(order) - 1) for k, c in enumerate(order)}
        shares = {
            c: (1.0 if k == 0 else 1 / rho) if match[1] == "step" else rho ** -steps[c]
            for k, c in enumerate(order)
        }
        return {c: min(n, max(1, round(most * shares[c]))) for c, n in available.items()}
    return _explicit_counts(skew, available)


def _explicit_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    kept = dict(available)
    terms = re.findall(_TERM, skew)
    if not terms or re.sub(_TERM, "", skew).strip() or skew.rstrip().endswith(","):
        raise UserError(
            f"Skew {skew!r} is not understood; write 'as it is', 'step:20', 'long:50' or "
            "'class=number,class=number'."
        )
    for label, number in terms:
        if label not in available:
            raise UserError(f"Skew names class {label!r}; there are {', '.join(available)}.")
        if not 1 <= int(number) <= available[label]:
            raise UserError(
                f"Skew wants {number} images of {label}; training has 1 to {available[label]}."
            )
        kept[label] = int(number)
    return kept


def limited_counts(counts: dict[str, int], limit: int | None) -> dict[str, int]:
    """Scale counts down in proportion so that they sum to at most `limit`, each at least 1."""
    total = sum(counts.values())
    if limit is None or total <= limit:
        return counts
    limited = {c: max(1, int(n * limit / total)) for c, n in counts.items()}
    largest = max(limited, key=lambda c: limited[c])  # gives what the classes of one image take
    limited[largest] = max(1, limited[largest] - max(0, sum(limited.values()) - limit))
    return limited


def make_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Resolve and save a training set; raises UserError if the name is taken."""
    check_name(name, "training set name")
    path = workspace.sets / f"{name}.json"
    if path.exists() or name in list_datasets(workspace):
        raise UserError(f"{name!r} is taken by another training set or dataset; choose another.")
    made = resolve_set(workspace, name, config)
    write_json(path, made.to_json())
    return made


def open_set(workspace: Workspace, name: str) -> TrainingSet:
    """A saved set; a dataset's name stands for its set `official`, `as it is`."""
    if name in list_sets(workspace):  # else a name such as ../x would lead elsewhere
        return read_set(workspace.sets / f"{name}.json")
    if name in list_datasets(workspace):
        return resolve_set(workspace, name, SetConfig(dataset=name))
    known = ", ".join([*list_sets(workspace), *list_datasets(workspace)]) or "none yet"
    raise UserError(f"There is no training set or dataset {name!r} (there is: {known}).")


def read_set(path: Path) -> TrainingSet:
    """A training set from its file; raises UserError where that is missing or damaged."""
    return TrainingSet.from_json(read_json(path), path)


def open_sets(workspace: Workspace) -> tuple[list[TrainingSet], dict[str, str]]:
    """All saved sets, and {name: what is wrong} of those that are damaged."""
    found, damaged = [], {}
    for name in list_sets(workspace):
        try:
            found.append(open_set(workspace, name))
        except UserError as error:
            damaged[name] = str(error)
    return found, damaged


def list_sets(workspace: Workspace) -> list[str]:
    return sorted(p.stem for p in workspace.sets.glob("[!.]*.json"))


def resolve_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Draw the parts: the same config gives the same ids, a stronger skew a subset."""
    dataset = open_dataset(workspace, config.dataset)
    split = split_rows(dataset, config.split, config.difference, config.validation, config.seed)
    posed = _has_pose(dataset, config.poses)
    train, validation = (part[posed[part]] for part in (split.train, split.validation))
    images, labels = (dataset.catalogue[name].to_numpy() for name in ("image", "class"))
    by_class = {c: images[train[labels[train] == c]].tolist() for c in dataset.classes}
    missing = [c for c, ids in by_class.items() if not ids]
    if missing:
        raise UserError(
            f"Training set {name} would hold no image of {', '.join(missing)}; choose another "
            "split, more poses or another dataset."
        )
    for part, rows in (("validate", validation), ("test", split.test)):
        if not len(rows):
            raise UserError(
                f"Training set {name} would hold no image to {part} on: classes, patients or "
                "groups of near-duplicates are too few to spare one; add images, or choose "
                "another split or more poses."
            )
    counts = skewed_counts(config.skew, {c: len(ids) for c, ids in by_class.items()})
    counts = limited_counts(counts, config.limit)
    kept = {
        i for k, c in enumerate(dataset.classes) for i in _draw(by_class[c], counts[c], config, k)
    }
    return TrainingSet(
        name=name,
        config=config,
        fingerprint=dataset.fingerprint,
        classes=tuple(dataset.classes),
        counts=counts,
        train=tuple(i for i in images[train] if i in kept),
        validation=tuple(images[validation]),
        test=tuple(images[split.test]),
        dropped=split.dropped,
    )


def _draw(ids: list[str], count: int, config: SetConfig, label: int) -> list[str]:
    """The first `count` of one seeded order of a class, so that skews are nested."""
    order = np.random.default_rng([config.seed, 1, label]).permutation(len(ids))
    return [ids[k] for k in order[:count]]


def _has_pose(dataset: Dataset, poses: tuple[str, ...]) -> np.ndarray:
    """For each row of the catalogue, whether it has one of the poses (all, if none is named)."""
    catalogue = dataset.catalogue
    if not poses:
        return np.ones(len(catalogue), bool)
    from rebalance_core.poses.clustering import open_clustering

    assigned = open_clustering(dataset).assignments
    unknown = set(poses) - set(assigned["pose"])
    if unknown:
        known = ", ".join(sorted(set(assigned["pose"])))
        raise UserError(f"Dataset {dataset.name} has no pose {', '.join(unknown)}; it has {known}.")
    chosen = set(assigned.loc[assigned["pose"].isin(poses), "image"])
    has: np.ndarray = catalogue["image"].isin(chosen).to_numpy()
    return has
