"""SMOTE: each image of a minority class blended with one of its nearest neighbours in that class
(Chawla et al. 2002, arXiv 1106.1813, section 4.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.errors import UserError, first_line
from rebalance_core.generators.base import Generator, TrainingData
from rebalance_core.generators.smote.config import SmoteConfig
from rebalance_core.imaging.distances import squared_distances
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.run import Run
from rebalance_core.system.files import read_json, write_json

BLOCK = 256  # images whose neighbours are looked for at once
PREVIEWS = 8  # images in a row
CLASSIFIER_SHARE = 0.9  # of the work, where a classifier is trained for its features


def nearest_neighbours(
    points: np.ndarray, rows: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the points (n, …) at `rows` (m,): the rows of their nearest others, nearest first, of
    equals the first, and the squared distances to these; both (m, `neighbours`)."""
    squared = squared_distances(points[rows], points)
    squared[np.arange(len(rows)), rows] = np.inf  # nobody is a neighbour of its own
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :neighbours]
    return nearest, np.take_along_axis(squared, nearest, axis=1)


def draw(neighbours: np.ndarray, seed: int, number: int, k: int) -> tuple[int, int, float]:
    """For image `k` of class `number`: a row, one of its neighbours' (n, k), and a share of the way
    there, from U(0, 1)."""
    random = np.random.default_rng([seed, number, k])
    row = int(random.integers(len(neighbours)))
    other = int(neighbours[row, random.integers(neighbours.shape[1])])
    return row, other, float(random.random())


def blend(image: np.ndarray, neighbour: np.ndarray, share: float) -> np.ndarray:
    """uint8 images: `share` of the way from one to the other, to the nearest whole gray level."""
    start = image.astype(np.float64)
    return np.rint(start + share * (neighbour - start)).astype(np.uint8)


@dataclass(frozen=True)
class Neighbourhood:
    """A class's training images, uint8 (n, H, W, C), and the rows of each one's neighbours, int64
    (n, k)."""

    images: np.ndarray
    neighbours: np.ndarray

    def made(self, seed: int, number: int, k: int) -> np.ndarray:
        row, other, share = draw(self.neighbours, seed, number, k)
        return blend(self.images[row], self.images[other], share)


class SmoteGenerator(Generator):
    def __init__(
        self,
        config: SmoteConfig,
        found: dict[str, Neighbourhood],
        classes_without_images: tuple[str, ...] = (),
        single_image_classes: tuple[str, ...] = (),
    ) -> None:
        self.config, self.found = config, found
        self.classes = tuple(found)
        self.classes_without_images = classes_without_images
        self.single_image_classes = single_image_classes
        self.size = config.size
        self.channels = next(iter(found.values())).images.shape[3]

    @classmethod
    def fit(cls, config: SmoteConfig, data: TrainingData, run: Run) -> Self:
        images = {
            label: data.train.images[data.train.labels == data.classes.index(label)]
            for label in data.minority
        }
        several = {label: stack for label, stack in images.items() if len(stack) > 1}
        if not several:
            raise UserError(
                "No minority class of this training set has two images to draw between; add "
                "images, or choose a weaker skew."
            )
        neighbours = _find(config, data, several, run)
        return cls(
            config,
            {label: Neighbourhood(several[label], neighbours[label]) for label in several},
            classes_without_images=tuple(c for c, stack in images.items() if len(stack) == 0),
            single_image_classes=tuple(c for c, stack in images.items() if len(stack) == 1),
        )

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        if sampler:
            raise UserError(f"SMOTE has no {' or '.join(sampler)} to set.")
        number = self.classes.index(label)
        for start in range(first, first + count, self.batch_size):
            stop = min(start + self.batch_size, first + count)
            yield np.stack([self.found[label].made(seed, number, k) for k in range(start, stop)])

    def save(self, folder: Path) -> None:
        """What it blends are training images, so these lie in the folder too."""
        arrays = {}
        for number, each in enumerate(self.found.values()):
            arrays[f"images {number}"] = each.images
            arrays[f"neighbours {number}"] = each.neighbours
        save_file(arrays, folder / "images.safetensors")
        about = About(
            classes=self.classes,
            unseen=self.classes_without_images,
            lone=self.single_image_classes,
            channels=self.channels,
            config=self.config,
        )
        write_json(folder / "config.json", about.model_dump(mode="json", by_alias=True))

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not all((folder / name).exists() for name in ("config.json", "images.safetensors")):
            raise UserError(
                f"{folder} holds no SMOTE; it needs config.json and images.safetensors."
            )
        try:
            about = About.model_validate(read_json(folder / "config.json"))
            arrays = load_file(folder / "images.safetensors")
            return cls(
                about.config,
                _checked(about, arrays),
                about.classes_without_images,
                about.single_image_classes,
            )
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'config.json'}: {first['msg']}"
            raise UserError(f"{folder} does not contain a readable SMOTE ({reason}).") from error
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"{folder} does not contain a readable SMOTE ({reason}).") from error


class About(BaseModel):
    """`config.json`, which lies with the images."""

    classes: tuple[str, ...]
    classes_without_images: tuple[str, ...] = Field(default=(), alias="unseen")
    single_image_classes: tuple[str, ...] = Field(default=(), alias="lone")
    channels: Literal[1, 3]
    config: SmoteConfig


def _checked(about: About, arrays: dict[str, np.ndarray]) -> dict[str, Neighbourhood]:
    """What `save` wrote, or ValueError: whatever lies in a folder is somebody else's word."""
    named = (*about.classes, *about.classes_without_images, *about.single_image_classes)
    if not about.classes or len(set(named)) < len(named):
        raise ValueError("its classes are none, or not each named once")
    wanted = {f"{what} {n}" for n in range(len(about.classes)) for what in ("images", "neighbours")}
    if arrays.keys() != wanted:
        raise ValueError("its arrays are not those of its classes")
    found = {}
    for number, label in enumerate(about.classes):
        images, neighbours = arrays[f"images {number}"], arrays[f"neighbours {number}"]
        n, size = len(images) if images.ndim else 0, about.config.size
        if n < 2 or images.dtype != np.uint8 or images.shape[1:] != (size, size, about.channels):
            raise ValueError(f"images {number} are not two or more of {size} px as bytes")
        shape = (n, min(about.config.neighbours, n - 1))
        if neighbours.dtype != np.int64 or neighbours.shape != shape:
            raise ValueError(f"neighbours {number} are not whole numbers of shape {shape}")
        if ((neighbours < 0) | (neighbours >= n) | (neighbours == np.arange(n)[:, None])).any():
            raise ValueError(f"neighbours {number} are not all other images of the class")
        found[label] = Neighbourhood(images, neighbours)
    return found


def _find(
    config: SmoteConfig, data: TrainingData, images: dict[str, np.ndarray], run: Run
) -> dict[str, np.ndarray]:
    """{class: rows of each image's neighbours}; a checkpoint keeps those that were found."""
    kept = run.restore() or {"step": 0, "classifier": None, "features": {}, "found": {}, "sums": {}}
    run.log(kept["step"], event="start")
    points, before = images, 0.0
    if config.space == "features":
        if not kept["features"]:
            _learn(config, data, images, run, kept)
        points = {label: features.numpy() for label, features in kept["features"].items()}
        before = CLASSIFIER_SHARE
    handled, total = 0, sum(map(len, images.values()))
    steps = config.epochs if config.space == "features" else 0
    for number, (label, stack) in enumerate(images.items()):
        neighbours = min(config.neighbours, len(stack) - 1)
        found = kept["found"].setdefault(label, torch.zeros((0, neighbours), dtype=torch.int64))
        while len(found) < len(stack):
            # a block of images
            rows = np.arange(len(found), min(len(found) + BLOCK, len(stack)))
            nearest, squared = nearest_neighbours(points[label], rows, neighbours)
            found = kept["found"][label] = torch.cat([found, torch.from_numpy(nearest)])
            # say what happened
            values = stack[0].size if config.space == "pixels" else 1  # root mean square, or norm
            apart = float(np.sqrt(squared / values).mean(axis=1).sum())
            kept["sums"][label] = kept["sums"].get(label, 0.0) + apart
            kept["step"] = steps + handled + len(found)
            run.log(kept["step"], **{f"distance {label}": kept["sums"][label] / len(found)})
            share = (handled + len(found)) / total
            told = f"{label}, image {len(found)} of {len(stack)}"
            run.progress(before + (1 - before) * share, told)
            run.checkpoint_or_stop(kept)
        handled += len(stack)
        drawn = [draw(found.numpy(), config.seed, number, k) for k in range(PREVIEWS)]
        run.preview(steps + handled, _three_rows(stack, drawn), label)
        if handled < total:
            run.checkpoint_or_stop(kept)
    return {label: found.numpy() for label, found in kept["found"].items()}


def _learn(
    config: SmoteConfig,
    data: TrainingData,
    images: dict[str, np.ndarray],
    run: Run,
    kept: dict[str, Any],
) -> None:
    """Features of the minority classes' images, by a classifier of all real training images."""
    settings = ClassifierConfig(
        size=config.size, epochs=config.epochs, lr=config.lr, precision=config.precision
    )

    def after_epoch(loss: float, state: dict[str, Any]) -> None:
        epoch = state["epoch"]
        run.log(epoch, **{"loss classifier": loss})
        run.progress(
            CLASSIFIER_SHARE * epoch / config.epochs,
            f"classifier, epoch {epoch} of {config.epochs}",
        )
        kept.update(step=epoch, classifier=state)
        run.checkpoint_or_stop(kept)

    scorer = train_scorer(
        settings,
        data.train,
        data.classes,
        config.seed,
        kept=kept["classifier"],
        after_epoch=after_epoch,
    )
    features = {label: torch.from_numpy(scorer(stack)[1]) for label, stack in images.items()}
    kept.update(classifier=None, features=features)


def _three_rows(images: np.ndarray, drawn: list[tuple[int, int, float]]) -> np.ndarray:
    """Images, what is made of them, and the neighbours on the other side, as one picture."""
    rows = [
        [images[row] for row, _, _ in drawn],
        [blend(images[row], images[other], share) for row, other, share in drawn],
        [images[other] for _, other, _ in drawn],
    ]
    return make_grid(np.concatenate(rows), PREVIEWS)
