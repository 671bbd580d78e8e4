"""Sampling of both diffusion models; each image has its own random generator."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors import SafetensorError

from models.unet import TIMESTEPS
from rebalance_core.errors import UserError, first_line
from rebalance_core.generators.base import SAMPLE_BATCH_SIZE, Generator, check_safetensors_folder
from rebalance_core.generators.diffusion.config import (
    PREVIEW_SAMPLER,
    PREVIEW_STEPS,
    PREVIEWS,
    DiffusionConfig,
)
from rebalance_core.generators.diffusion.formulas import SAMPLERS, Predict, denoising
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.run import Run
from rebalance_core.training.batches import to_uint8
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import keyed_generator

MAX_BATCH_PIXELS = SAMPLE_BATCH_SIZE * 64 * 64  # larger images are sampled in smaller batches


class DiffusionGenerator(Generator):
    """A generator whose sampler is one of SAMPLERS."""

    config: DiffusionConfig
    file: ClassVar[str]  # of the saved folder, with classes and config
    options: ClassVar[tuple[str, ...]]  # of its sampler

    @abstractmethod
    def predictor(
        self, label: str, seed: int, rows: range, device: torch.device, **options: Any
    ) -> Predict:
        """The network on `device` as a function of noisy images and timesteps.

        It generates images `rows` of class `label`; `options` are those beyond sampler and steps.
        """

    @property
    def batch_size(self) -> int:
        return max(1, min(SAMPLE_BATCH_SIZE, MAX_BATCH_PIXELS // self.size**2))

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        """`sampler`: values of `options`; those left out come from the config."""
        name, steps, options = self._parse_options(sampler)
        start, batch = first, self.batch_size
        while start < first + count:
            rows = range(start, min(start + batch, first + count))
            try:
                *_, images = self._denoised(label, seed, rows, name, steps, options)
            except torch.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2  # images do not depend on the batch
                continue
            yield to_uint8(images)
            start = rows.stop

    def denoising_frames(
        self, label: str, count: int, seed: int, *, frames: int, first: int = 0, **sampler: Any
    ) -> Iterator[np.ndarray]:
        """Yield at most `frames` stages of images `first` to `first + count - 1`.

        Each is uint8 (count, H, W, C): the first is noise, the last what `sample` returns; fewer if
        the sampler has fewer steps. Raises UserError as `sample` does.
        """
        self.check_class(label)
        name, steps, options = self._parse_options(sampler)
        frames = min(frames, steps + 1)
        selected = {round(k * steps / max(1, frames - 1)) for k in range(frames)}
        rows = range(first, first + count)
        for step, images in enumerate(self._denoised(label, seed, rows, name, steps, options)):
            if step in selected:
                yield to_uint8(images)

    def _parse_options(self, sampler: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
        """(sampler, steps, other options); raises UserError for unknown or invalid ones."""
        unknown = [option for option in sampler if option not in self.options]
        if unknown:
            raise UserError(
                f"This model does not have the option {' or '.join(unknown)}; it has "
                f"{', '.join(self.options)}."
            )
        name = sampler.pop("sampler", None) or self.config.sampler
        steps = sampler.pop("steps", None) or self.config.sampler_steps
        if name not in SAMPLERS or not 1 <= steps <= TIMESTEPS:
            raise UserError(
                f"A DDPM is sampled with {', '.join(SAMPLERS)} in 1 to {TIMESTEPS} steps, not with "
                f"{name!r} in {steps} steps."
            )
        return name, steps, sampler

    def _denoised(
        self, label: str, seed: int, rows: range, name: str, steps: int, options: dict[str, Any]
    ) -> Iterator[torch.Tensor]:
        """Yield the noise, then the images after each step, float (len(rows), C, H, W)."""
        number = self.classes.index(label)
        accelerator = create_accelerator(self.config.precision)
        predict = self.predictor(label, seed, rows, accelerator.device, **options)
        randoms = [keyed_generator(seed, number, k) for k in rows]
        with torch.no_grad(), accelerator.autocast():
            noise = draw_noise(randoms, (self.channels, self.size)).to(accelerator.device)
            yield noise
            config = self.config
            yield from denoising(
                predict, noise, randoms, name, steps, config.prediction, config.schedule
            )

    @classmethod
    @abstractmethod
    def read(cls, folder: Path) -> Self:
        """Read what `save` wrote, without checks."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        check_safetensors_folder(folder, cls.file)
        try:
            return cls.read(folder)
        except UserError:
            raise
        except (
            OSError,
            ValueError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            StopIteration,
            SafetensorError,
        ) as error:
            raise UserError(
                f"{folder} does not contain a readable diffusion model ({first_line(error)})."
            ) from error


def draw_noise(randoms: list[torch.Generator], shape: tuple[int, int]) -> torch.Tensor:
    """Noise from N(0, 1), (n, C, size, size), for each image from its own generator.

    `shape` is (channels, size).
    """
    channels, size = shape
    return torch.cat([torch.randn((1, channels, size, size), generator=r) for r in randoms])


def preview_samples(
    config: DiffusionConfig,
    run: Run,
    step: int,
    predict: Predict,
    randoms: list[torch.Generator],
    shape: tuple[int, int],
    name: str,
    device: torch.device,
) -> None:
    """Write a preview of one image per random generator, PREVIEWS per row, by a fast sampler."""
    noise = draw_noise(randoms, shape).to(device)
    *_, images = denoising(
        predict, noise, randoms, PREVIEW_SAMPLER, PREVIEW_STEPS, config.prediction, config.schedule
    )
    run.preview(step, make_grid(to_uint8(images), PREVIEWS), name)
