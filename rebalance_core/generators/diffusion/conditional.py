"""One diffusion model over all classes, guided towards the wanted one: the rare classes learn from
the common ones what images of this kind look like (Ho and Salimans 2022, arXiv 2207.12598)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.unet import ConditionalUNet, ConditionEmbedding, noise_schedule, seeded_conditional_unet
from rebalance_core.errors import UserError
from rebalance_core.generators.base import TrainingData
from rebalance_core.generators.diffusion.config import (
    PREVIEWS,
    VALIDATION_IMAGES,
    ConditionalDdpmConfig,
)
from rebalance_core.generators.diffusion.formulas import (
    Predict,
    balancing_loss,
    draw_timesteps,
    guided,
)
from rebalance_core.generators.diffusion.sampling import DiffusionGenerator, show_samples
from rebalance_core.generators.diffusion.training import (
    Place,
    denoising_loss,
    train_model,
    validation_loss,
)
from rebalance_core.generators.diffusion.warps import draw_warps, warp_images
from rebalance_core.runs.run import Run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training.batches import (
    balanced_indices,
    batch_indices,
    steps_per_epoch,
    to_float,
)
from rebalance_core.training.random import derive_seed, keyed_generator

POSE = 3  # key of the random numbers that choose a sample's pose


class ConditionalDdpmGenerator(DiffusionGenerator):
    file = "conditional-ddpm.json"
    options = ("sampler", "steps", "guidance")

    def __init__(
        self,
        model: ConditionalUNet,
        config: ConditionalDdpmConfig,
        names: Sequence[str],
        shares: np.ndarray,
    ) -> None:
        """`names`: the classes by their number in the model; `shares` (classes, poses + 1): how
        often each pose occurs in a class, the last for images without one; a class of all zeros
        was not seen."""
        self.model = model.eval()
        self.config: ConditionalDdpmConfig = config
        self.names, self.shares = tuple(names), shares
        seen = shares.sum(axis=1) > 0
        self.classes = tuple(n for n, s in zip(names, seen, strict=True) if s)
        self.classes_without_images = tuple(n for n, s in zip(names, seen, strict=True) if not s)
        self.size, self.channels = model.size, model.channels

    @classmethod
    def fit(cls, config: ConditionalDdpmConfig, data: TrainingData, run: Run) -> Self:
        model = _train(config, data, run)
        shares = np.zeros((len(data.classes), len(data.poses) + 1))
        np.add.at(shares, (data.train.labels, data.train_poses), 1)
        return cls(model, config, data.classes, shares)

    def predictor(
        self, label: str, seed: int, rows: range, device: torch.device, **asked: Any
    ) -> Predict:
        guidance = asked.get("guidance")
        guidance = self.config.guidance if guidance is None else guidance
        if not 0 <= guidance <= 20:
            raise UserError(f"guidance={guidance} makes no sense; choose 0 to 20, usually 1 to 3.")
        number = self.names.index(label)
        self.model.to(device).to(memory_format=torch.channels_last)
        labels = torch.full((len(rows),), number, device=device)
        return guided(self.model, labels, self._poses(number, seed, rows).to(device), guidance)

    def _poses(self, number: int, seed: int, rows: range) -> Tensor:
        """A pose for each image, as often as training had it: int64 (n,)."""
        shares = self.shares[number] / self.shares[number].sum()
        drawn = [np.random.default_rng([seed, POSE, number, k]).random() for k in rows]
        return torch.as_tensor(np.searchsorted(shares.cumsum()[:-1], drawn, side="right"))

    def save(self, folder: Path) -> None:
        """`unet/` and `scheduler/` open in plain diffusers; beside them the conditions."""
        self.model.unet.save_pretrained(folder / "unet")
        noise_schedule(self.config.prediction, self.config.schedule).save_pretrained(
            folder / "scheduler"
        )
        save_file(
            {k: v.contiguous() for k, v in self.model.conditions.state_dict().items()},
            folder / "conditions.safetensors",
        )
        about = {
            "classes": self.names,
            "shares": self.shares.tolist(),
            "config": self.config.model_dump(mode="json"),
        }
        write_json(folder / self.file, about)

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = read_json(folder / cls.file)
        config = ConditionalDdpmConfig.build(**about["config"])
        unet = UNet2DModel.from_pretrained(
            folder / "unet", use_safetensors=True, local_files_only=True
        )
        weights = load_file(folder / "conditions.safetensors")
        shares = np.array(about["shares"], dtype=float)
        if shares.shape[0] != len(about["classes"]) or not (shares >= 0).all():
            raise ValueError("shares of poses and classes do not fit")
        classes, poses = shares.shape[0], shares.shape[1] - 1
        conditions = ConditionEmbedding(classes, poses, weights["label.weight"].shape[1])
        conditions.load_state_dict(weights)
        return cls(
            ConditionalUNet(unet, conditions, config.unshuffle), config, about["classes"], shares
        )


def _train(config: ConditionalDdpmConfig, data: TrainingData, run: Run) -> ConditionalUNet:
    # data, in memory; what the model is told of it
    images, labels = to_float(data.train.images), torch.as_tensor(data.train.labels)
    poses = torch.as_tensor(data.train_poses)
    classes, no_pose = len(data.classes), len(data.poses)
    batch = config.batch_size * config.accumulation
    steps = config.steps or config.epochs * steps_per_epoch(len(images), batch)
    model = seeded_conditional_unet(
        config.unet_shape(data.channels),
        derive_seed(config.seed, 0),
        unshuffle=config.unshuffle,
        classes=classes,
        poses=no_pose,
    )
    held_out, held_labels = _held_out(data)
    kept = run.restore() or {}
    run.log(kept.get("step", 0), event="start")

    def batch_loss(step: int, part: int) -> Tensor:
        at = step * config.accumulation + part
        random = keyed_generator(config.seed, 1, at)
        # images, moved, and what is told of them
        rows = torch.as_tensor(_rows(config, data.train.labels, at))
        warps = draw_warps(len(rows), config.warp, random)
        told, where = labels[rows], poses[rows]
        silent, unplaced = torch.rand((2, len(rows)), generator=random) < config.drop
        told = told.masked_fill(silent, classes)
        where = where.masked_fill(silent | unplaced, no_pose)
        clean, noise, timesteps, told, where, warps = (
            t.to(model.device)
            for t in (
                warp_images(images[rows], warps),
                torch.randn((len(rows), *images.shape[1:]), generator=random),
                draw_timesteps(len(rows), random),
                told,
                where,
                warps,
            )
        )
        # the error under their own class, and how much another class changes
        loss, noisy, predicted = denoising_loss(
            config, lambda x, t: model(x, t, told, where, warps), clean, noise, timesteps
        )
        if config.cbdm:
            uniform = torch.randint(classes, (len(rows),), generator=random).to(model.device)
            other = model(noisy, timesteps, uniform, where, warps)
            loss = loss + balancing_loss(predicted, other, timesteps, config.cbdm)
        return loss

    def look(step: int) -> float | None:
        _preview(config, data, run, model, step)
        if not len(held_out):
            return None
        none = torch.full_like(held_labels, no_pose).to(model.device)
        predict = guided(model, held_labels.to(model.device), none, 1)
        return validation_loss(config, predict, held_out.to(model.device))

    train_model(config, run, model, batch_loss, look, Place(steps), kept)
    return model


def _rows(config: ConditionalDdpmConfig, labels: np.ndarray, at: int) -> np.ndarray:
    draw = balanced_indices if config.balanced else lambda of, *key: batch_indices(len(of), *key)
    return draw(labels, config.batch_size, at, config.seed)


def _held_out(data: TrainingData) -> tuple[Tensor, Tensor]:
    """The first few validation images of each class, and their labels."""
    found = data.validation.labels
    rows = [np.flatnonzero(found == k)[:VALIDATION_IMAGES] for k in range(len(data.classes))]
    chosen = np.concatenate(rows)
    return to_float(data.validation.images[chosen]), torch.as_tensor(found[chosen])


def _preview(
    config: ConditionalDdpmConfig, data: TrainingData, run: Run, model: ConditionalUNet, step: int
) -> None:
    """A row of samples for each class that training has, from the same noise."""
    seen = np.unique(data.train.labels)
    labels = torch.as_tensor(seen).repeat_interleave(PREVIEWS).to(model.device)
    none = torch.full_like(labels, len(data.poses))
    randoms = [keyed_generator(config.seed, 99, k) for _ in seen for k in range(PREVIEWS)]
    predict = guided(model, labels, none, config.guidance)
    form = (data.channels, config.size)
    show_samples(config, run, step, predict, randoms, form, "samples", model.device)
