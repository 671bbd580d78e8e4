"""A generator in one file: one Gaussian per class, in the principal components of its pixels.

Installed with the entry point `rebalance_pca:SPEC` in the group `rebalance.generators`, it can be
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
    """PCA of the pixels of each class."""

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
        description="Factor of the standard deviations: 1 as in training.",
    )


class PcaGenerator(Generator):
    """Images are mean + z · scales · components, with z from N(0, 1)."""

    def __init__(self, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: mean (pixels,), scales (k,) and components (k, pixels) of each class."""
        self.classes, self.size = tuple(config["classes"]), int(config["size"])
        self.channels, self.arrays = int(config["channels"]), arrays

    @classmethod
    def fit(cls, config: PcaConfig, data: TrainingData, run: Run) -> Self:
        import torch

        state = run.restore() or {"done": 0, "arrays": {}}
        arrays = {name: tensor.numpy() for name, tensor in state["arrays"].items()}
        run.log(state["done"], event="start")
        shape = (config.size, config.size, data.channels)
        for step, label in enumerate(data.minority[state["done"] :], state["done"] + 1):
            # one class
            images = data.train.images[data.train.labels == data.classes.index(label)]
            pixels = images.reshape(len(images), -1).astype(np.float64) / 255
            mean = pixels.mean(axis=0)
            _, singular_values, components = np.linalg.svd(pixels - mean, full_matrices=False)
            k = min(config.components, max(1, len(pixels) - 1))
            scales = singular_values[:k] / max(1, len(pixels) - 1) ** 0.5
            components = components[:k].copy()
            arrays |= {f"mean {label}": mean, f"scales {label}": scales}
            arrays[f"components {label}"] = components
            # report and checkpoint
            variances = singular_values**2
            explained = variances[:k].sum() / max(variances.sum(), 1e-12)
            run.log(step, explained_variance=float(explained))
            preview = np.stack([mean, *(mean + scales[:, None] * components)])[:8]
            run.preview(step, make_grid(to_pixels(preview, shape), len(preview)), label)
            run.progress(step / len(data.minority), label)
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            run.checkpoint_or_stop({"done": step, "arrays": tensors})
        values = {"classes": data.minority, "size": config.size, "channels": data.channels}
        return cls(values, arrays)

    def batches(
        self, label: str, count: int, seed: int, first: int, **options: Any
    ) -> Iterator[np.ndarray]:
        number, spread = self.classes.index(label), float(options.get("spread", 1.0))
        mean, scales, components = (
            self.arrays[f"{name} {label}"] for name in ("mean", "scales", "components")
        )
        shape = (self.size, self.size, self.channels)
        for start in range(first, first + count, self.batch_size):
            images = []
            for k in range(start, min(start + self.batch_size, first + count)):
                z = np.random.default_rng([seed, number, k]).normal(size=len(scales))
                images.append(mean + spread * z * scales @ components)
            yield to_pixels(np.stack(images), shape)

    def save(self, folder: Path) -> None:
        config = {"classes": self.classes, "size": self.size, "channels": self.channels}
        write_json(folder / "config.json", config)
        save_file(self.arrays, folder / "components.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        file = folder / "components.safetensors"
        if not file.exists():
            raise UserError(f"{folder} does not contain a PCA model: {file.name} is missing.")
        return cls(read_json(folder / "config.json"), load_file(file))


def class_flops(config: Config, channels: int) -> float:
    """FLOPs of one class, assuming a hundred images of it."""
    assert isinstance(config, PcaConfig)
    return 2.0 * 100**2 * config.size**2 * channels


def training_cost(config: Config, training_set: TrainingSet, channels: int) -> Cost:
    """One singular value decomposition per class, and its mean and components on disk."""
    assert isinstance(config, PcaConfig)
    classes, pixels = len(training_set.minority), config.size**2 * channels
    flops = class_flops(config, channels) * classes
    return Cost(flops, classes * pixels * (config.components + 1))


def to_pixels(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Float (n, pixels) in [0, 1] → uint8 (n, H, W, C)."""
    return np.rint(images.clip(0, 1) * 255).astype(np.uint8).reshape(len(images), *shape)


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
    step_flops="rebalance_pca:class_flops",
    preview_captions={"": "the class mean, then one standard deviation along each component"},
)
