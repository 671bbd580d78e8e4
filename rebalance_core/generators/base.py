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

SAMPLE_BATCH = 64
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")  # what opening could run
NEVER_SAW, SAW_ONE = "never saw an image of", "saw only one image, and needs two, of"


@dataclass(frozen=True)
class TrainingData:
    """What a generator sees of a training set, at its size."""

    train: Images
    validation: Images
    classes: tuple[str, ...]
    minority: tuple[str, ...]
    channels: int
    poses: tuple[str, ...] = ()  # that images may have; empty where nobody asked
    pose_of: Mapping[str, str] = field(default_factory=dict)  # {image id: pose}

    @property
    def train_poses(self) -> np.ndarray:
        """The number of each training image's pose, `len(poses)` for none: int64 (n,)."""
        numbers = {pose: k for k, pose in enumerate(self.poses)}
        found = [numbers.get(self.pose_of.get(i, ""), len(self.poses)) for i in self.train.ids]
        return np.array(found, dtype=np.int64)


def load_training_data(
    dataset: Dataset,
    chosen: TrainingSet,
    size: int,
    progress: Progress | None = None,
    pose_of: Mapping[str, str] | None = None,
) -> TrainingData:
    """`pose_of`: {image id: pose}, for a generator that is told of poses."""
    pose_of = pose_of or {}
    return TrainingData(
        train=load_part(dataset, chosen, "train", size, progress),
        validation=load_part(dataset, chosen, "validation", size),
        classes=chosen.classes,
        minority=tuple(chosen.minority or chosen.classes),
        channels=dataset.channels,
        poses=tuple(sorted({pose_of[i] for i in chosen.train if i in pose_of})),
        pose_of=pose_of,
    )


class Generator(ABC):
    """A trained generator. `classes` are those it can sample."""

    classes: tuple[str, ...]
    unseen: tuple[str, ...] = ()  # of the training set, but without an image in training
    lone: tuple[str, ...] = ()  # with a single image in training, of which nothing can be made
    size: int
    channels: int

    @property
    def batch(self) -> int:
        """How many images are made at once."""
        return SAMPLE_BATCH

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, data: TrainingData, run: Run) -> Self:
        """Train, telling `run` what happens; continues from the run's checkpoint if it has one."""

    @abstractmethod
    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        """uint8 (≤ `batch`, H, W, C) until `count`; image k depends on (seed, label, first + k)
        and the sampler alone, whatever the batches (but for rounding, a gray level at most)."""

    def sample(
        self, label: str, count: int, seed: int, *, first: int = 0, **sampler: Any
    ) -> Iterator[np.ndarray]:
        """Like `batches`; raises UserError for a class it doesn't know or a senseless count.
        Going on at `first` gives the very bytes: a batch begun before it is made again whole."""
        self.check_class(label)
        if not 1 <= count <= 1_000_000:
            raise UserError(f"count={count} images make no sense; choose 1 to 1,000,000.")
        again = first % self.batch
        made = self.batches(label, again + count, seed, first - again, **sampler)
        return _without(made, again)

    def check_class(self, label: str) -> None:
        """Raises UserError for a class that this generator cannot make."""
        if label not in self.classes:
            why = "cannot make"
            if label in (*self.unseen, *self.lone):
                why = NEVER_SAW if label in self.unseen else SAW_ONE
            raise UserError(
                f"This generator {why} class {label!r}; it was trained for "
                f"{', '.join(self.classes)}."
            )

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and config files into the existing, empty `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError for anything else."""


def _without(batches: Iterator[np.ndarray], first: int) -> Iterator[np.ndarray]:
    """The batches without their `first` images; none of them empty."""
    for images in batches:
        if len(images) > first:
            yield images[first:]
        first = max(0, first - len(images))


def check_folder(folder: Path, file: str) -> None:
    """Raises UserError for a folder that is no diffusion model of ours, or that holds a pickle."""
    if not (folder / file).exists():
        raise UserError(f"{folder} holds no diffusion model of ours: it has no {file}.")
    pickles = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICKLES)
    if pickles:
        raise UserError(
            f"{pickles[0]} is a pickle, which could run code when it is opened; save the model "
            "with safetensors and remove it."
        )


@runtime_checkable
class Interpolates(Protocol):
    """A generator that can move from one class to another; its spec has `interpolates`."""

    def between(
        self,
        start: str,
        end: str,
        shares: Sequence[float],
        count: int,
        seed: int,
        truncation: float | None = None,
    ) -> Iterator[np.ndarray]:
        """For each share of the way from `start` to `end`: uint8 (count, H, W, C)."""


@runtime_checkable
class Denoises(Protocol):
    """A generator that samples from noise in steps; its spec has `denoises`."""

    def denoising(
        self, label: str, count: int, seed: int, *, frames: int, first: int = 0, **sampler: Any
    ) -> Iterator[np.ndarray]:
        """At most `frames` stages from noise to the images: uint8 (count, H, W, C) each."""
