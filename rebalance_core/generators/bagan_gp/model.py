"""BAGAN-GP as a generator: samples of a class, and interpolation between two classes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.bagan_gp import LATENT_DIM, BaganGP
from rebalance_core.errors import UserError, first_line
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.bagan_gp.training import BaganTrainer
from rebalance_core.generators.base import Generator, TrainingData
from rebalance_core.runs.run import Run
from rebalance_core.training.batches import to_uint8
from rebalance_core.training.random import keyed_generator


def draw_latents(
    number: int, seed: int, first: int, count: int, truncation: float | None = None
) -> Tensor:
    """Latents (count, 128) from N(0, 1), each from (seed, number of the class, first + k) alone.

    With `truncation` t, from N(0, 1) truncated to ±t (Brock et al. 2019, arXiv 1809.11096), which
    gives fewer outliers and less variety. A latent changes continuously with t.
    """
    randoms = [keyed_generator(seed, number, k) for k in range(first, first + count)]
    if truncation is None:
        return torch.stack([torch.randn(LATENT_DIM, generator=r) for r in randoms])
    uniform = torch.stack(
        [torch.rand(LATENT_DIM, generator=r, dtype=torch.float64) for r in randoms]
    )
    below = torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64))
    latent: Tensor = torch.special.ndtri(below + uniform * (1 - 2 * below))
    return latent.float()


class BaganGenerator(Generator):
    def __init__(self, model: BaganGP) -> None:
        self.model = model.eval()
        self.classes_without_images = tuple(model.unseen)
        self.classes = tuple(c for c in model.classes if c not in model.unseen)
        self.size, self.channels = model.size, model.channels

    @classmethod
    def fit(cls, config: BaganConfig, data: TrainingData, run: Run) -> Self:
        return cls(BaganTrainer(config, data, run).train())

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        truncation = sampler.pop("truncation", None)
        if sampler:
            raise UserError(f"BAGAN-GP does not have the option {' or '.join(sampler)}.")
        if truncation is not None and not 0 < truncation <= 10:
            raise UserError(f"truncation={truncation} is out of range; choose 0.1 to 3.")
        number = self.model.classes.index(label)
        for start in range(first, first + count, self.batch_size):
            n = min(self.batch_size, first + count - start)
            latent = draw_latents(number, seed, start, n, truncation)
            yield self._decode(latent, self._class_embedding(label).expand(n, -1))

    def interpolate(
        self,
        start: str,
        end: str,
        weights: Sequence[float],
        count: int,
        seed: int,
        truncation: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield uint8 (count, H, W, C) for each weight of the end class's embedding, 0 to 1.

        The latents are those of `sample` for class `start`.
        """
        self.check_class(start)
        self.check_class(end)
        latent = draw_latents(self.model.classes.index(start), seed, 0, count, truncation)
        for weight in weights:
            embedding = torch.lerp(self._class_embedding(start), self._class_embedding(end), weight)
            yield self._decode(latent, embedding.expand(count, -1))

    @torch.no_grad()
    def _class_embedding(self, label: str) -> Tensor:
        weight: Tensor = self.model.embedding.weight[self.model.classes.index(label)]
        return weight

    @torch.no_grad()
    def _decode(self, latent: Tensor, embedding: Tensor) -> np.ndarray:
        return to_uint8(self.model.decoder(latent.to(embedding.device) * embedding))

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not (folder / "model.safetensors").exists() or not (folder / "config.json").exists():
            raise UserError(
                f"{folder} does not contain a BAGAN-GP; it needs config.json and model.safetensors."
            )
        try:
            model = BaganGP.from_pretrained(folder, strict=True)
        except (RuntimeError, ValueError, TypeError, OSError, SafetensorError) as error:
            reason = first_line(error)
            raise UserError(f"{folder} does not contain a readable BAGAN-GP ({reason}).") from error
        state = model.state_dict()
        if not all(torch.isfinite(v).all() for v in state.values()) or any(
            (v < 0).any() for name, v in state.items() if name.endswith("running_var")
        ):
            raise UserError(f"{folder} contains a BAGAN-GP with invalid weights.")
        return cls(model)
