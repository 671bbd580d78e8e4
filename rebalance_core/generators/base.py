"""The contract of every generator: fit, sample, save, load."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from rebalance_core.datasets.dataset import Dataset, Progress
from rebalance_core.errors import UserError
from rebalance_core.runs.run import Run
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import TrainingSet

SAMPLE_BATCH_SIZE = 64
MAX_COUNT = 1_000_000  # images of one call of `sample`
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # opening could run code


@dataclass(frozen=True)
class TrainingData:
    """The images of a training set that a generator may use, resized to the config's `size`.

    `train` and `validation` have `images`, uint8 (n, size, size, channels), `labels`, int64 (n,),
    indices into `classes`, and `ids`, n strings. Either may lack some classes; `validation` may be
    empty.
    """

    train: Images
    validation: Images
    classes: tuple[str, ...]
    minority: tuple[str, ...]  # the classes to add images to; all of them in a balanced set
    channels: int  # 1 or 3
    poses: tuple[str, ...] = ()  # poses of the training images; empty unless requested
    pose_of: Mapping[str, str] = field(default_factory=dict)  # {image id: pose}

    @property
    def train_poses(self) -> np.ndarray:
        """Index into `poses` of each training image, `len(poses)` if it has none: int64 (n,)."""
        indices = {pose: k for k, pose in enumerate(self.poses)}
        train_poses = [indices.get(self.pose_of.get(i, ""), len(indices)) for i in self.train.ids]
        return np.array(train_poses, dtype=np.int64)


def load_training_data(
    dataset: Dataset,
    training_set: TrainingSet,
    size: int,
    progress: Progress | None = None,
    pose_of: Mapping[str, str] | None = None,
) -> TrainingData:
    """Load the training and validation images at `size` px. `pose_of`: {image id: pose}, for a
    generator conditioned on poses."""
    pose_of = pose_of or {}
    return TrainingData(
        train=load_part(dataset, training_set, "train", size, progress),
        validation=load_part(dataset, training_set, "validation", size),
        classes=training_set.classes,
        minority=tuple(training_set.minority or training_set.classes),
        channels=dataset.channels,
        poses=tuple(sorted({pose_of[i] for i in training_set.train if i in pose_of})),
        pose_of=pose_of,
    )


class Generator(ABC):
    """A trained generator. A subclass sets the attributes and implements the abstract methods."""

    classes: tuple[str, ...]  # that it can generate
    classes_without_images: tuple[str, ...] = ()  # of the training set, not in `classes`
    single_image_classes: tuple[str, ...] = ()  # with one training image, where it needs two
    size: int  # px, side of its images
    channels: int  # 1 or 3

    @property
    def batch_size(self) -> int:
        """Number of images generated at once, at least 1."""
        return SAMPLE_BATCH_SIZE

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, data: TrainingData, run: Run) -> Self:
        """Train with `config`, an instance of the spec's config class.

        Continues from `run.restore()` if that is not None, with bitwise the same result as without
        the interruption (on the CPU). Logs metrics with `run.log`, at least one picture with
        `run.preview`, and `run.progress` up to 1.0. Calls `run.checkpoint_or_stop(state)` after
        every step: it writes checkpoints, and raises Cancelled when a stop is requested. Raises
        UserError for data it cannot be trained on and for a training that fails, as when a loss
        becomes NaN.
        """

    @abstractmethod
    def batches(
        self, label: str, count: int, seed: int, first: int, **options: Any
    ) -> Iterator[np.ndarray]:
        """Images `first` to `first + count - 1` of class `label`: uint8
        (≤ `batch_size`, size, size, channels), in order. `options` are those of the spec's
        `sampling`; one that is missing has the generator's default.

        Image k depends on (seed, label, k) and the options alone, not on the batch (but for
        rounding: one gray level at most). `sample` has checked `label` and `count`.
        """

    def sample(
        self, label: str, count: int, seed: int, *, first: int = 0, **options: Any
    ) -> Iterator[np.ndarray]:
        """`batches` after checks; raises UserError for a class it cannot generate and for a count
        outside 1 to 1,000,000. Resuming at any `first` gives identical bytes, since the batch that
        contains `first` is generated from its start."""
        self.check_class(label)
        if not 1 <= count <= MAX_COUNT:
            raise UserError(f"count={count} is out of range; choose 1 to {MAX_COUNT:,}.")
        offset = first % self.batch_size
        batches = self.batches(label, offset + count, seed, first - offset, **options)
        return _skip_images(batches, offset)

    def check_class(self, label: str) -> None:
        """Raise UserError for a class that this generator cannot generate."""
        if label not in self.classes:
            images = 1 if label in self.single_image_classes else None
            images = 0 if label in self.classes_without_images else images
            raise class_error(label, self.classes, images)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (.safetensors) and config (.json) into the existing, empty `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder written by `save`; raises UserError for any other, without unpickling."""


def class_error(label: str, classes: Sequence[str], images: int | None = None) -> UserError:
    """The error for a class that is not one of a generator's `classes`. `images`: how many it was
    trained on, if too few (0 or 1); None for any other reason."""
    reasons = {
        0: f"was trained without images of class {label!r}",
        1: f"was trained on a single image of class {label!r} and needs at least two",
    }
    reason = f"cannot generate class {label!r}" if images is None else reasons[images]
    return UserError(f"This generator {reason}; it generates {', '.join(classes)}.")


def _skip_images(batches: Iterator[np.ndarray], first: int) -> Iterator[np.ndarray]:
    """The batches without their `first` images; no batch is empty."""
    for images in batches:
        if len(images) > first:
            yield images[first:]
        first = max(0, first - len(images))


def check_safetensors_folder(folder: Path, marker: str) -> None:
    """Raise UserError for a folder without the file `marker`, or with a pickle in it."""
    if not (folder / marker).exists():
        raise UserError(f"{folder} does not contain a trained generator: {marker} is missing.")
    pickles = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise UserError(
            f"{pickles[0]} is a pickle, which could run code when it is opened; save the model "
            "with safetensors and remove it."
        )


@runtime_checkable
class Interpolates(Protocol):
    """A generator that can interpolate between two classes; its spec has `interpolates`."""

    def interpolate(
        self,
        start: str,
        end: str,
        weights: Sequence[float],
        count: int,
        seed: int,
        truncation: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield images interpolated between two classes, one batch per weight.

        Weights run from 0 (`start`) to 1 (`end`). Each batch is uint8 (count, size, size,
        channels), from the same latents. Raises UserError for a class it cannot generate.
        """


@runtime_checkable
class Denoises(Protocol):
    """A generator that samples from noise in steps; its spec has `denoises`."""

    def denoising_frames(
        self, label: str, count: int, seed: int, *, frames: int, first: int = 0, **options: Any
    ) -> Iterator[np.ndarray]:
        """At most `frames` stages of images `first` to `first + count - 1`, from noise to what
        `sample` gives: uint8 (count, size, size, channels) each. Raises UserError as `sample`
        does."""
