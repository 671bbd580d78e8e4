"""One class-conditional diffusion model with classifier-free guidance.

Rare classes share what the common ones teach about such images (Ho and Salimans 2022, arXiv
2207.12598).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
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
from rebalance_core.generators.diffusion.loading import read_unet
from rebalance_core.generators.diffusion.sampling import DiffusionGenerator, preview_samples
from rebalance_core.generators.diffusion.training import (
    ModelPosition,
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
from rebalance_core.training.weights import load_weights

POSE = 3  # key of the random numbers that draw a sample's pose


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
        """`names`: the classes in the order of the label embedding; `shares` (classes, poses + 1):
        counts of each pose in a class, the last of images without one. A class of all zeros was
        not in the training images."""
        self.model = model.eval()
        self.config: ConditionalDdpmConfig = config
        self.names, self.shares = tuple(names), shares
        has_images = shares.sum(axis=1) > 0
        self.classes = tuple(n for n, is_there in zip(names, has_images, strict=True) if is_there)
        self.classes_without_images = tuple(n for n in names if n not in self.classes)
        self.size, self.channels = model.size, model.channels

    @classmethod
    def fit(cls, config: ConditionalDdpmConfig, data: TrainingData, run: Run) -> Self:
        model = _train(config, data, run)
        shares = np.zeros((len(data.classes), len(data.poses) + 1))
        np.add.at(shares, (data.train.labels, data.train_poses), 1)
        return cls(model, config, data.classes, shares)

    def predictor(
        self, label: str, seed: int, rows: range, device: torch.device, **options: Any
    ) -> Predict:
        guidance = options.get("guidance")
        guidance = self.config.guidance if guidance is None else guidance
        if not 0 <= guidance <= 20:
            raise UserError(f"guidance={guidance} is out of range; choose 0 to 20, usually 1 to 3.")
        number = self.names.index(label)
        self.model.to(device).to(memory_format=torch.channels_last)
        labels = torch.full((len(rows),), number, device=device)
        return guided(self.model, labels, self._poses(number, seed, rows).to(device), guidance)

    def _poses(self, number: int, seed: int, rows: range) -> Tensor:
        """A pose for each image, int64 (n,), drawn from its frequencies in training."""
        shares = self.shares[number] / self.shares[number].sum()
        uniform = [np.random.default_rng([seed, POSE, number, k]).random() for k in rows]
        return torch.as_tensor(np.searchsorted(shares.cumsum()[:-1], uniform, side="right"))

    def save(self, folder: Path) -> None:
        """Write `unet/` and `scheduler/` for plain diffusers, and the condition embedding."""
        self.model.unet.save_pretrained(folder / "unet")
        noise_schedule(self.config.prediction, self.config.schedule).save_pretrained(
            folder / "scheduler"
        )
        save_file(
            {k: v.contiguous() for k, v in self.model.conditions.state_dict().items()},
            folder / "conditions.safetensors",
        )
        record = {
            "classes": self.names,
            "shares": self.shares.tolist(),
            "config": self.config.model_dump(mode="json"),
        }
        write_json(folder / self.file, record)

    @classmethod
    def read(cls, folder: Path) -> Self:
        record = read_json(folder / cls.file)
        config = ConditionalDdpmConfig.build(**record["config"])
        unet = read_unet(folder / "unet", config, unshuffle=config.unshuffle, conditional=True)
        shares = np.array(record["shares"], dtype=float)
        if shares.shape[0] != len(record["classes"]) or not (shares >= 0).all():
            raise ValueError("the shares of poses do not match the classes")
        classes, poses = shares.shape[0], shares.shape[1] - 1
        dim = config.unet_shape(1).condition_dim
        with torch.device("meta"):
            conditions = ConditionEmbedding(classes, poses, dim)
        load_weights(conditions, folder / "conditions.safetensors")
        return cls(
            ConditionalUNet(unet, conditions, config.unshuffle), config, record["classes"], shares
        )


def _train(config: ConditionalDdpmConfig, data: TrainingData, run: Run) -> ConditionalUNet:
    # data, in memory, and its conditions
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
    state = run.restore() or {}
    run.log(state.get("step", 0), event="start")

    def batch_loss(step: int, part: int) -> Tensor:
        batch_number = step * config.accumulation + part
        random = keyed_generator(config.seed, 1, batch_number)
        # augmented images and their conditions, some dropped
        rows = torch.as_tensor(_batch_rows(config, data.train.labels, batch_number))
        warps = draw_warps(len(rows), config.warp, random)
        drop_all, drop_pose = torch.rand((2, len(rows)), generator=random) < config.drop
        class_ids = labels[rows].masked_fill(drop_all, classes)
        pose_ids = poses[rows].masked_fill(drop_all | drop_pose, no_pose)
        clean, noise, timesteps, class_ids, pose_ids, warps = (
            t.to(model.device)
            for t in (
                warp_images(images[rows], warps),
                torch.randn((len(rows), *images.shape[1:]), generator=random),
                draw_timesteps(len(rows), random),
                class_ids,
                pose_ids,
                warps,
            )
        )
        # denoising loss, and the class-balancing loss against another class
        loss, noisy, pred = denoising_loss(
            config, lambda x, t: model(x, t, class_ids, pose_ids, warps), clean, noise, timesteps
        )
        if config.cbdm:
            uniform = torch.randint(classes, (len(rows),), generator=random).to(model.device)
            other = model(noisy, timesteps, uniform, pose_ids, warps)
            loss = loss + balancing_loss(pred, other, timesteps, config.cbdm)
        return loss

    def evaluate(step: int) -> float | None:
        _preview(config, data, run, model, step)
        if not len(held_out):
            return None
        pose_ids = torch.full_like(held_labels, no_pose).to(model.device)
        predict = guided(model, held_labels.to(model.device), pose_ids, 1)
        return validation_loss(config, predict, held_out.to(model.device))

    train_model(config, run, model, batch_loss, evaluate, ModelPosition(steps), state)
    return model


def _batch_rows(config: ConditionalDdpmConfig, labels: np.ndarray, number: int) -> np.ndarray:
    if config.balanced:
        return balanced_indices(labels, config.batch_size, number, config.seed)
    return batch_indices(len(labels), config.batch_size, number, config.seed)


def _held_out(data: TrainingData) -> tuple[Tensor, Tensor]:
    """The first few validation images of each class, and their labels."""
    labels = data.validation.labels
    by_class = [np.flatnonzero(labels == k)[:VALIDATION_IMAGES] for k in range(len(data.classes))]
    rows = np.concatenate(by_class)
    return to_float(data.validation.images[rows]), torch.as_tensor(labels[rows])


def _preview(
    config: ConditionalDdpmConfig, data: TrainingData, run: Run, model: ConditionalUNet, step: int
) -> None:
    """Write a preview with one row per class in training, each column from the same noise."""
    class_ids = np.unique(data.train.labels)
    labels = torch.as_tensor(class_ids).repeat_interleave(PREVIEWS).to(model.device)
    pose_ids = torch.full_like(labels, len(data.poses))
    randoms = [keyed_generator(config.seed, 99, k) for _ in class_ids for k in range(PREVIEWS)]
    predict = guided(model, labels, pose_ids, config.guidance)
    shape = (data.channels, config.size)
    preview_samples(config, run, step, predict, randoms, shape, "samples", model.device)
