"""SMOTE (Chawla et al. 2002, arXiv 1106.1813, section 4.2) on images.

An image of a minority class is interpolated towards one of its nearest neighbours in that class.
"""

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

BLOCK = 256  # images whose neighbours are searched at once
PREVIEWS = 8  # images per row
CLASSIFIER_SHARE = 0.9  # of the progress, if a classifier is trained


def nearest_neighbours(
    points: np.ndarray, rows: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the nearest other points, and the squared distances to them.

    `points` is (n, …), `rows` (m,); both results are (m, `neighbours`), nearest first, ties in
    order of rows.
    """
    squared = squared_distances(points[rows], points)
    squared[np.arange(len(rows)), rows] = np.inf  # a point is not its own neighbour
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :neighbours]
    return nearest, np.take_along_axis(squared, nearest, axis=1)


def draw(neighbours: np.ndarray, seed: int, number: int, k: int) -> tuple[int, int, float]:
    """(row, row of one of its neighbours, weight from U(0, 1)) of image `k` of class `number`."""
    random = np.random.default_rng([seed, number, k])
    row = int(random.integers(len(neighbours)))
    other = int(neighbours[row, random.integers(neighbours.shape[1])])
    return row, other, float(random.random())


def blend(image: np.ndarray, neighbour: np.ndarray, weight: float) -> np.ndarray:
    """image + weight · (neighbour - image), rounded, uint8."""
    start = image.astype(np.float64)
    return np.rint(start + weight * (neighbour - start)).astype(np.uint8)


@dataclass(frozen=True)
class Neighbourhood:
    """Images of a class, uint8 (n, H, W, C), and rows of their neighbours, int64 (n, k)."""

    images: np.ndarray
    neighbours: np.ndarray

    def generate(self, seed: int, number: int, k: int) -> np.ndarray:
        """Image `k` of class `number`, uint8 (H, W, C)."""
        row, other, weight = draw(self.neighbours, seed, number, k)
        return blend(self.images[row], self.images[other], weight)


class SmoteGenerator(Generator):
    def __init__(
        self,
        config: SmoteConfig,
        neighbourhoods: dict[str, Neighbourhood],
        classes_without_images: tuple[str, ...] = (),
        single_image_classes: tuple[str, ...] = (),
    ) -> None:
        self.config, self.neighbourhoods = config, neighbourhoods
        self.classes = tuple(neighbourhoods)
        self.classes_without_images = classes_without_images
        self.single_image_classes = single_image_classes
        self.size = config.size
        self.channels = next(iter(neighbourhoods.values())).images.shape[3]

    @classmethod
    def fit(cls, config: SmoteConfig, data: TrainingData, run: Run) -> Self:
        images = {
            label: data.train.images[data.train.labels == data.classes.index(label)]
            for label in data.minority
        }
        usable = {label: stack for label, stack in images.items() if len(stack) > 1}
        if not usable:
            raise UserError(
                "No minority class of this training set has two images to interpolate between; "
                "add images, or choose a weaker skew."
            )
        neighbours = _find_neighbours(config, data, usable, run)
        return cls(
            config,
            {label: Neighbourhood(usable[label], neighbours[label]) for label in usable},
            classes_without_images=tuple(c for c, stack in images.items() if len(stack) == 0),
            single_image_classes=tuple(c for c, stack in images.items() if len(stack) == 1),
        )

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        if sampler:
            raise UserError(f"SMOTE does not have the option {' or '.join(sampler)}.")
        number = self.classes.index(label)
        for start in range(first, first + count, self.batch_size):
            stop = min(start + self.batch_size, first + count)
            source = self.neighbourhoods[label]
            yield np.stack([source.generate(seed, number, k) for k in range(start, stop)])

    def save(self, folder: Path) -> None:
        """Write the config, the training images and their neighbours."""
        arrays = {}
        for number, source in enumerate(self.neighbourhoods.values()):
            arrays[f"images {number}"] = source.images
            arrays[f"neighbours {number}"] = source.neighbours
        save_file(arrays, folder / "images.safetensors")
        record = SmoteRecord(
            classes=self.classes,
            unseen=self.classes_without_images,
            lone=self.single_image_classes,
            channels=self.channels,
            config=self.config,
        )
        write_json(folder / "config.json", record.model_dump(mode="json", by_alias=True))

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not all((folder / name).exists() for name in ("config.json", "images.safetensors")):
            raise UserError(
                f"{folder} does not contain a SMOTE; it needs config.json and images.safetensors."
            )
        try:
            record = SmoteRecord.model_validate(read_json(folder / "config.json"))
            arrays = load_file(folder / "images.safetensors")
            return cls(
                record.config,
                _validate(record, arrays),
                record.classes_without_images,
                record.single_image_classes,
            )
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'config.json'}: {first['msg']}"
            raise UserError(f"{folder} does not contain a readable SMOTE ({reason}).") from error
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"{folder} does not contain a readable SMOTE ({reason}).") from error


class SmoteRecord(BaseModel):
    """The contents of `config.json`, beside the images."""

    classes: tuple[str, ...]
    classes_without_images: tuple[str, ...] = Field(default=(), alias="unseen")
    single_image_classes: tuple[str, ...] = Field(default=(), alias="lone")
    channels: Literal[1, 3]
    config: SmoteConfig


def _validate(record: SmoteRecord, arrays: dict[str, np.ndarray]) -> dict[str, Neighbourhood]:
    """The neighbourhoods in untrusted arrays; raises ValueError if they do not fit the record."""
    classes = (*record.classes, *record.classes_without_images, *record.single_image_classes)
    if not record.classes or len(set(classes)) < len(classes):
        raise ValueError("its classes are empty, or one is listed twice")
    names = {f"{part} {n}" for n in range(len(record.classes)) for part in ("images", "neighbours")}
    if arrays.keys() != names:
        raise ValueError("its arrays are not those of its classes")
    neighbourhoods = {}
    for number, label in enumerate(record.classes):
        images, neighbours = arrays[f"images {number}"], arrays[f"neighbours {number}"]
        n, size = len(images) if images.ndim else 0, record.config.size
        if n < 2 or images.dtype != np.uint8 or images.shape[1:] != (size, size, record.channels):
            raise ValueError(f"images {number} are not two or more uint8 images of {size} px")
        shape = (n, min(record.config.neighbours, n - 1))
        if neighbours.dtype != np.int64 or neighbours.shape != shape:
            raise ValueError(f"neighbours {number} are not int64 of shape {shape}")
        if ((neighbours < 0) | (neighbours >= n) | (neighbours == np.arange(n)[:, None])).any():
            raise ValueError(f"neighbours {number} contain an image itself or a row out of range")
        neighbourhoods[label] = Neighbourhood(images, neighbours)
    return neighbourhoods


def _find_neighbours(
    config: SmoteConfig, data: TrainingData, images: dict[str, np.ndarray], run: Run
) -> dict[str, np.ndarray]:
    """{class: rows of each image's neighbours}, resumable by block."""
    state = run.restore() or {
        "step": 0,
        "classifier": None,
        "features": {},
        "found": {},
        "sums": {},
    }
    run.log(state["step"], event="start")
    points, start = images, 0.0
    if config.space == "features":
        if not state["features"]:
            _train_features(config, data, images, run, state)
        points = {label: features.numpy() for label, features in state["features"].items()}
        start = CLASSIFIER_SHARE
    done, total = 0, sum(map(len, images.values()))
    steps = config.epochs if config.space == "features" else 0
    for number, (label, stack) in enumerate(images.items()):
        neighbours = min(config.neighbours, len(stack) - 1)
        rows_found = state["found"].setdefault(
            label, torch.zeros((0, neighbours), dtype=torch.int64)
        )
        while len(rows_found) < len(stack):
            # a block of images
            first = len(rows_found)
            rows = np.arange(first, min(first + BLOCK, len(stack)))
            nearest, squared = nearest_neighbours(points[label], rows, neighbours)
            rows_found = torch.cat([rows_found, torch.from_numpy(nearest)])
            state["found"][label], count = rows_found, len(rows_found)
            # report and checkpoint
            values = stack[0].size if config.space == "pixels" else 1  # root mean square, or norm
            distance = float(np.sqrt(squared / values).mean(axis=1).sum())
            state["sums"][label] = state["sums"].get(label, 0.0) + distance
            state["step"] = steps + done + count
            run.log(state["step"], **{f"distance {label}": state["sums"][label] / count})
            stage = f"{label}, image {count} of {len(stack)}"
            run.progress(start + (1 - start) * (done + count) / total, stage)
            run.checkpoint_or_stop(state)
        done += len(stack)
        samples = [draw(rows_found.numpy(), config.seed, number, k) for k in range(PREVIEWS)]
        run.preview(steps + done, _preview(stack, samples), label)
        if done < total:
            run.checkpoint_or_stop(state)
    return {label: rows.numpy() for label, rows in state["found"].items()}


def _train_features(
    config: SmoteConfig,
    data: TrainingData,
    images: dict[str, np.ndarray],
    run: Run,
    state: dict[str, Any],
) -> None:
    """Train a classifier on all training images; put the minority classes' features in `state`."""
    settings = ClassifierConfig(
        size=config.size, epochs=config.epochs, lr=config.lr, precision=config.precision
    )

    def after_epoch(loss: float, classifier: dict[str, Any]) -> None:
        epoch = classifier["epoch"]
        run.log(epoch, **{"loss classifier": loss})
        run.progress(
            CLASSIFIER_SHARE * epoch / config.epochs,
            f"classifier, epoch {epoch} of {config.epochs}",
        )
        state.update(step=epoch, classifier=classifier)
        run.checkpoint_or_stop(state)

    scorer = train_scorer(
        settings,
        data.train,
        data.classes,
        config.seed,
        state=state["classifier"],
        after_epoch=after_epoch,
    )
    features = {label: torch.from_numpy(scorer(stack)[1]) for label, stack in images.items()}
    state.update(classifier=None, features=features)


def _preview(images: np.ndarray, samples: list[tuple[int, int, float]]) -> np.ndarray:
    """A grid of three rows: images, their blends and the neighbours."""
    rows = [
        [images[row] for row, _, _ in samples],
        [blend(images[row], images[other], weight) for row, other, weight in samples],
        [images[other] for _, other, _ in samples],
    ]
    return make_grid(np.concatenate(rows), PREVIEWS)
