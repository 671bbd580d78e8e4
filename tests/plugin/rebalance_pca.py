"""A generator in one file: each class as a Gaussian in its principal components of pixels.

Installed with an entry point of the group `rebalance.generators`, `rebalance_pca:SPEC`, it can be
trained, sampled, scored, compared and removed like a built-in one.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file

from rebalance_core.config import Config, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Generator, TrainingData
from rebalance_core.generators.spec import Cost, GeneratorSpec, SamplingOptions
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.run import Run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.resolve import TrainingSet


class PcaConfig(Config):
    """Class-conditional PCA of pixels."""

    preset: str = "paper"
    size: int = Field(default=64, ge=8, le=256)  # px
    components: int = Field(default=16, ge=1, le=256)  # principal components of each class
    seed: Seed = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"size": 32, "components": 8},
        "small": {},
        "paper": {},
        "strong": {"size": 128, "components": 64},
    }


class PcaSampling(SamplingOptions):
    spread: float | None = Field(
        default=None,
        gt=0,
        le=3,
        title="Spread",
        description="Standard deviations of the components: 1 as in training.",
    )


class PcaGenerator(Generator):
    """mean + z · scales · directions, z from N(0, 1)."""

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.classes, self.size = tuple(about["classes"]), int(about["size"])
        self.channels, self.arrays = int(about["channels"]), arrays

    @classmethod
    def fit(cls, config: PcaConfig, data: TrainingData, run: Run) -> Self:
        import torch

        kept = run.restore() or {"done": 0, "arrays": {}}
        arrays = {name: value.numpy() for name, value in kept["arrays"].items()}
        run.log(kept["done"], event="start")
        shape = (config.size, config.size, data.channels)
        for number, label in enumerate(data.minority[kept["done"] :], kept["done"] + 1):
            pixels = data.train.images[data.train.labels == data.classes.index(label)]
            flat = pixels.reshape(len(pixels), -1).astype(np.float64) / 255
            mean = flat.mean(axis=0)
            _, scales, directions = np.linalg.svd(flat - mean, full_matrices=False)
            most = min(config.components, max(1, len(flat) - 1))
            arrays[f"mean {label}"] = mean
            arrays[f"scales {label}"] = scales[:most] / max(1, len(flat) - 1) ** 0.5
            arrays[f"directions {label}"] = directions[:most].copy()
            explained = (scales[:most] ** 2).sum() / max((scales**2).sum(), 1e-12)
            run.log(number, explained_variance=float(explained))
            pictures = np.stack(
                [
                    mean,
                    *(
                        mean + s * d
                        for s, d in zip(
                            arrays[f"scales {label}"], arrays[f"directions {label}"], strict=True
                        )
                    ),
                ]
            )[:8]
            run.preview(number, make_grid(as_bytes(pictures, shape), len(pictures)), label)
            run.progress(number / len(data.minority), label)
            run.checkpoint_or_stop(
                {"done": number, "arrays": {k: torch.from_numpy(v) for k, v in arrays.items()}}
            )
        about = {"classes": data.minority, "size": config.size, "channels": data.channels}
        return cls(about, arrays)

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        number, spread = self.classes.index(label), float(sampler.get("spread", 1.0))
        mean, scales, directions = (
            self.arrays[f"{part} {label}"] for part in ("mean", "scales", "directions")
        )
        shape = (self.size, self.size, self.channels)
        for start in range(first, first + count, self.batch):
            images = [
                mean
                + spread
                * np.random.default_rng([seed, number, k]).normal(size=len(scales))
                * scales
                @ directions
                for k in range(start, min(start + self.batch, first + count))
            ]
            yield as_bytes(np.stack(images), shape)

    def save(self, folder: Path) -> None:
        about = {"classes": self.classes, "size": self.size, "channels": self.channels}
        write_json(folder / "config.json", about)
        save_file(self.arrays, folder / "components.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not (folder / "components.safetensors").exists():
            raise UserError(f"{folder} holds no PCA model; it needs components.safetensors.")
        return cls(read_json(folder / "config.json"), load_file(folder / "components.safetensors"))


def class_operations(config: Config, channels: int) -> float:
    """Floating-point operations of one class, for some hundred images of it."""
    assert isinstance(config, PcaConfig)
    return 2.0 * 100**2 * config.size**2 * channels


def training_cost(config: Config, chosen: TrainingSet, channels: int) -> Cost:
    """A singular value decomposition for each class, and its components on disk."""
    assert isinstance(config, PcaConfig)
    classes, pixels = len(chosen.minority), config.size**2 * channels
    operations = class_operations(config, channels) * classes
    return Cost(operations, classes * pixels * (config.components + 1))


def as_bytes(flat: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Float (n, pixels) in [0, 1] → uint8 (n, H, W, C)."""
    return np.rint(flat.clip(0, 1) * 255).astype(np.uint8).reshape(len(flat), *shape)


SPEC = GeneratorSpec(
    name="pca",
    title="PCA of pixels",
    summary="images drawn from a Gaussian in the principal components of each class",
    description="Fits a Gaussian to each of {minority}, in seconds.",
    config=PcaConfig,
    implementation="rebalance_pca:PcaGenerator",
    main_fields=("size", "components"),
    sampling=PcaSampling,
    cost="rebalance_pca:training_cost",
    step_operations="rebalance_pca:class_operations",
    previews={"": "the mean of the class, then one standard deviation along each component"},
)
