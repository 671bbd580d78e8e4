"""BAGAN-GP: an autoencoder first, then an adversarial stage with gradient penalty.

Paper section 5.1; Huang and Jafari 2021, arXiv 2011.00189.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from models.bagan_gp import LATENT, BaganGP, Discriminator, seeded_bagan
from rebalance_core.device import (
    batch_rows,
    derived_seed,
    generator,
    open_device,
    steps_per_epoch,
    to_uint8,
    to_unit,
)
from rebalance_core.errors import UserError
from rebalance_core.generators.base import SAMPLE_BATCH, Generator, TrainingData
from rebalance_core.generators.configs import BaganConfig
from rebalance_core.images import grid
from rebalance_core.runs.run import Run

AUTOENCODER, ADVERSARIAL = 1, 2  # stages, as keys of random numbers
ADVERSARIAL_COST = 9  # an adversarial step's time in autoencoder steps (for the progress alone)
LOOKS = 10  # validations and previews a stage
PREVIEW_COLUMNS = 8  # fixed latents shown for each class


def discriminator_loss(real: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
    """Logits of real images with their label, real with a wrong label, fakes → scalar."""
    return (
        F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        + F.binary_cross_entropy_with_logits(wrong, torch.zeros_like(wrong))
    )


def generator_loss(fake: Tensor) -> Tensor:
    """Logits of fakes → scalar."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, factor: Tensor
) -> Tensor:
    """Mean of (‖∇D‖ - 1)² at real + factor · (fake - real); factor (n, 1, 1, 1)."""
    between = (real + factor * (fake - real)).requires_grad_(True)
    logits = discriminator(between, labels)
    (slope,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    norms: Tensor = slope.float().flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


class BaganGenerator(Generator):
    def __init__(self, model: BaganGP) -> None:
        self.model = model.eval()
        self.classes = tuple(model.classes)
        self.size, self.channels = model.size, model.channels

    @classmethod
    def fit(cls, config: BaganConfig, data: TrainingData, run: Run) -> Self:
        return cls(_Trainer(config, data, run).train())

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        if sampler:
            raise UserError(f"BAGAN-GP has no sampler to set ({', '.join(sampler)}).")
        number = self.classes.index(label)
        device = next(self.model.parameters()).device
        for start in range(first, first + count, SAMPLE_BATCH):
            stop = min(start + SAMPLE_BATCH, first + count)
            latent = torch.stack(
                [
                    torch.randn(LATENT, generator=generator(seed, number, k))
                    for k in range(start, stop)
                ]
            )
            labels = torch.full((len(latent),), number)
            with torch.no_grad():
                yield to_uint8(self.model.generate(latent.to(device), labels.to(device)))

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not (folder / "model.safetensors").exists() or not (folder / "config.json").exists():
            raise UserError(
                f"{folder} holds no BAGAN-GP; it needs config.json and model.safetensors."
            )
        try:
            return cls(BaganGP.from_pretrained(folder))
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            raise UserError(f"{folder} holds no readable BAGAN-GP ({error}).") from error


class _Trainer:
    """Both stages; every random number depends on (seed, stage, step), so resuming is exact."""

    def __init__(self, config: BaganConfig, data: TrainingData, run: Run) -> None:
        self.config, self.data, self.run = config, data, run
        self.accelerator: Accelerator = open_device(config.precision)
        self.device = self.accelerator.device
        self.images = to_unit(data.train.images)
        self.labels = torch.as_tensor(data.train.labels)
        per_epoch = steps_per_epoch(len(self.labels), config.batch_size)
        self.autoencoder_steps = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
        self.steps = config.steps or config.epochs * per_epoch
        classes = list(data.classes)
        self.model = seeded_bagan(config.size, data.channels, classes, derived_seed(config.seed, 0))
        self.model.to(self.device).to(memory_format=torch.channels_last)
        betas = (config.beta1, config.beta2)
        model = self.model
        start = [*model.encoder.parameters(), *model.generator_parameters()]
        self.optimizers = {
            "autoencoder": torch.optim.Adam(start, config.autoencoder_lr, betas),
            "generator": torch.optim.Adam(model.generator_parameters(), config.lr, betas),
            "discriminator": torch.optim.Adam(model.discriminator.parameters(), config.lr, betas),
        }
        self.step = 0  # over both stages: first the autoencoder's, then the adversarial ones

    def train(self) -> BaganGP:
        if kept := self.run.restore():
            self._load(kept)
        total = self.autoencoder_steps + self.steps
        self.run.log(self.step, event="start")
        while self.step < total:
            adversarial = self.step >= self.autoencoder_steps
            numbers = self._adversarial_step() if adversarial else self._autoencoder_step()
            self.step += 1
            stage_steps = self.steps if adversarial else self.autoencoder_steps
            stage_step = self.step - (self.autoencoder_steps if adversarial else 0)
            last = stage_step == stage_steps
            if last or stage_step % max(1, stage_steps // 400) == 0:
                self.run.log(self.step, **{name: value.item() for name, value in numbers.items()})
            if last or stage_step % max(1, stage_steps // LOOKS) == 0:
                self.run.log(self.step, **self._validate(adversarial))
                self._preview(adversarial)
            self.run.progress(*self._progress())
            self.run.stop_here(self._state())
        return self.model

    def _autoencoder_step(self) -> dict[str, Tensor]:
        images, labels = self._batch(AUTOENCODER, self.step)
        with self.accelerator.autocast():
            rebuilt = self.model.reconstruct(images, labels)
        loss = F.l1_loss(rebuilt.float(), images)
        self._update("autoencoder", loss)
        return {"autoencoder_mae": loss.detach()}

    def _adversarial_step(self) -> dict[str, Tensor]:
        step = self.step - self.autoencoder_steps
        images, labels = self._batch(ADVERSARIAL, step)
        random = generator(self.config.seed, ADVERSARIAL, step)
        for _ in range(self.config.discriminator_updates):
            loss, penalty = self._discriminator_losses(images, labels, random)
            self._update("discriminator", loss + self.config.penalty * penalty)
        with self.accelerator.autocast():
            fake, fake_labels = self._fakes(len(labels), random)
            fooled = generator_loss(self.model.discriminator(fake, fake_labels).float())
        self._update("generator", fooled)
        return {
            "discriminator_loss": (loss + self.config.penalty * penalty).detach(),
            "gradient_penalty": penalty.detach(),
            "generator_loss": fooled.detach(),
        }

    def _discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        discriminator = self.model.discriminator
        with self.accelerator.autocast():
            with torch.no_grad():
                fake, fake_labels = self._fakes(len(labels), random)
            # Real and fake go through the trunk together, and real only once for both labels.
            real_features, fake_features = discriminator.trunk(torch.cat([images, fake])).chunk(2)
            loss = discriminator_loss(
                discriminator.judge(real_features, labels).float(),
                discriminator.judge(real_features, self._wrong_labels(labels, random)).float(),
                discriminator.judge(fake_features, fake_labels).float(),
            )
            draw = torch.randn if self.config.interpolation == "normal" else torch.rand
            factor = draw((len(labels), 1, 1, 1), generator=random).to(self.device)
            penalty = gradient_penalty(discriminator, images, fake.float(), labels, factor)
        return loss, penalty

    def _fakes(self, n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        latent = torch.randn((n, LATENT), generator=random).to(self.device)
        labels = torch.randint(len(self.data.classes), (n,), generator=random).to(self.device)
        return self.model.generate(latent, labels), labels

    def _wrong_labels(self, labels: Tensor, random: torch.Generator) -> Tensor:
        classes = len(self.data.classes)
        if self.config.wrong_labels == "any":
            return torch.randint(classes, labels.shape, generator=random).to(self.device)
        shift = torch.randint(1, classes, labels.shape, generator=random).to(self.device)
        return (labels + shift) % classes

    def _batch(self, stage: int, step: int) -> tuple[Tensor, Tensor]:
        rows = batch_rows(len(self.labels), self.config.batch_size, step, self.config.seed, stage)
        return self.images[rows].to(self.device), self.labels[rows].to(self.device)

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        # Only this optimizer's parameters get gradients: the generator's step leaves D alone.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.accelerator.backward(loss, inputs=parameters)
        optimizer.step()

    @torch.no_grad()
    def _validate(self, adversarial: bool) -> dict[str, float]:
        """Losses on validation images (at most 256), the model's mode restored."""
        held_out = self.data.validation
        if len(held_out.labels) < 2:
            return {}
        rows = np.random.default_rng(0).permutation(len(held_out.labels))[:256]
        images = to_unit(held_out.images[rows]).to(self.device)
        labels = torch.as_tensor(held_out.labels[rows]).to(self.device)
        self.model.eval()
        try:
            with self.accelerator.autocast():
                if not adversarial:
                    rebuilt = self.model.reconstruct(images, labels)
                    return {"autoencoder_mae_validation": F.l1_loss(rebuilt.float(), images).item()}
                with torch.enable_grad():
                    loss, penalty = self._discriminator_losses(images, labels, generator(0, 0))
                fake, fake_labels = self._fakes(len(labels), generator(0, 1))
                fooled = generator_loss(self.model.discriminator(fake, fake_labels).float())
        finally:
            self.model.train()
        if not torch.isfinite(loss):
            raise UserError(
                f"The discriminator's loss is {loss.item()} at step {self.step}; try a smaller lr."
            )
        return {
            "discriminator_loss_validation": (loss + self.config.penalty * penalty).item(),
            "generator_loss_validation": fooled.item(),
        }

    @torch.no_grad()
    def _preview(self, adversarial: bool) -> None:
        """A row a class: of fixed latents, or of originals above their reconstructions."""
        self.model.eval()
        classes = len(self.data.classes)
        if adversarial:
            random = generator(self.config.seed, 99)
            latent = torch.randn((PREVIEW_COLUMNS, LATENT), generator=random).repeat(classes, 1)
            labels = torch.arange(classes).repeat_interleave(PREVIEW_COLUMNS)
            images = self.model.generate(latent.to(self.device), labels.to(self.device))
        else:
            rows = np.concatenate(
                [
                    np.flatnonzero(self.data.train.labels == c)[:PREVIEW_COLUMNS]
                    for c in range(classes)
                ]
            )
            originals = self.images[rows].to(self.device)
            rebuilt = self.model.reconstruct(originals, self.labels[rows].to(self.device))
            images = torch.cat([originals, rebuilt])
        self.model.train()
        name = "samples" if adversarial else "reconstructions"
        columns = PREVIEW_COLUMNS if adversarial else max(1, len(images) // 2)
        self.run.preview(self.step, grid(to_uint8(images), columns), name)

    def _progress(self) -> tuple[float, str]:
        done = min(self.step, self.autoencoder_steps)
        adversarial = self.step - done
        total = self.autoencoder_steps + ADVERSARIAL_COST * self.steps
        fraction = (done + ADVERSARIAL_COST * adversarial) / total
        if self.step < self.autoencoder_steps:
            return fraction, f"autoencoder, step {done} of {self.autoencoder_steps}"
        return fraction, f"adversarial, step {adversarial} of {self.steps}"

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
        }

    def _load(self, kept: dict[str, Any]) -> None:
        self.step = kept["step"]
        self.model.load_state_dict(kept["model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(kept["optimizers"][name])
