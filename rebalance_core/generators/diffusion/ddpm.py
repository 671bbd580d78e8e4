"""One denoising diffusion model per minority class (paper sections 3.2, 5.3; arXiv 2006.11239)."""

from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DDPMPipeline, UNet2DModel
from torch import Tensor

from models.unet import noise_schedule, seeded_unet
from rebalance_core.errors import UserError
from rebalance_core.generators.base import TrainingData
from rebalance_core.generators.diffusion.config import (
    PREVIEWS,
    VALIDATION_IMAGES,
    DdpmConfig,
    DiffusionConfig,
)
from rebalance_core.generators.diffusion.formulas import Predict, draw_timesteps
from rebalance_core.generators.diffusion.sampling import DiffusionGenerator, show_samples
from rebalance_core.generators.diffusion.training import (
    Place,
    denoising_loss,
    train_model,
    validation_loss,
)
from rebalance_core.runs.run import Run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training.batches import batch_indices, steps_per_epoch, to_float
from rebalance_core.training.random import derive_seed, keyed_generator


class DdpmGenerator(DiffusionGenerator):
    file = "ddpm.json"
    options = ("sampler", "steps")

    def __init__(self, unets: dict[str, UNet2DModel], config: DdpmConfig) -> None:
        self.unets = {label: unet.eval() for label, unet in unets.items()}
        self.classes = tuple(unets)
        first = next(iter(unets.values()))
        self.size, self.channels = first.config.sample_size, first.config.in_channels
        self.config: DiffusionConfig = config

    @classmethod
    def fit(cls, config: DdpmConfig, data: TrainingData, run: Run) -> Self:
        return cls(_train(config, data, run), config)

    def predictor(
        self, label: str, seed: int, rows: range, device: torch.device, **asked: Any
    ) -> Predict:
        return unconditional(self.unets[label].to(device))

    def save(self, folder: Path) -> None:
        """A pipeline a class, opened by `DDPMPipeline.from_pretrained(folder/class-0)`, …"""
        schedule = noise_schedule(self.config.prediction, self.config.schedule)
        for number, unet in enumerate(self.unets.values()):
            DDPMPipeline(unet, schedule).save_pretrained(folder / f"class-{number}")
        about = {"classes": self.classes, "config": self.config.model_dump(mode="json")}
        write_json(folder / self.file, about)

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = read_json(folder / cls.file)
        parts = {label: folder / f"class-{n}" for n, label in enumerate(about["classes"])}
        for part in parts.values():
            if not (part / "model_index.json").exists():
                raise UserError(f"{part} is no diffusers pipeline: it has no model_index.json.")
        unets = {
            label: UNet2DModel.from_pretrained(
                part / "unet", use_safetensors=True, local_files_only=True
            )
            for label, part in parts.items()
        }
        return cls(unets, DdpmConfig.build(**about["config"]))


def unconditional(unet: UNet2DModel) -> Predict:
    return lambda noisy, timesteps: unet(noisy, timesteps).sample.float()


def _train(config: DdpmConfig, data: TrainingData, run: Run) -> dict[str, UNet2DModel]:
    """Train the classes one after the other; a checkpoint keeps the finished ones whole."""
    wanted = config.classes or data.minority
    unknown = set(wanted) - set(data.classes)
    if unknown:
        raise UserError(f"There is no class {', '.join(unknown)} in this training set.")
    kept = run.restore() or {"finished": {}, "step": 0}
    finished: dict[str, Any] = kept.pop("finished")
    run.log(kept["step"], event="start", label=wanted[min(len(finished), len(wanted) - 1)])
    unets: dict[str, UNet2DModel] = {}
    for number, label in enumerate(wanted):
        unet = seeded_unet(config.unet_shape(data.channels), derive_seed(config.seed, number, 0))
        unets[label] = unet
        if label in finished:
            unet.load_state_dict(finished[label])
            continue
        mine = kept if kept["step"] else {}
        _train_class(config, data, run, unet, (number, label, len(wanted)), mine, finished)
        finished[label] = unet.state_dict()
        kept = {"step": 0}
    return unets


def _train_class(
    config: DdpmConfig,
    data: TrainingData,
    run: Run,
    unet: UNet2DModel,
    which: tuple[int, str, int],
    kept: dict[str, Any],
    finished: dict[str, Any],
) -> None:
    number, label, models = which
    # data: one class, in memory
    index = data.classes.index(label)
    images = to_float(data.train.images[data.train.labels == index])
    held_out = to_float(data.validation.images[data.validation.labels == index][:VALIDATION_IMAGES])
    batch = config.batch_size * config.accumulation
    steps = config.steps or config.epochs * steps_per_epoch(len(images), batch)
    predict = unconditional(unet)

    def batch_loss(step: int, part: int) -> Tensor:
        at = step * config.accumulation + part
        rows = batch_indices(len(images), config.batch_size, at, config.seed, number)
        random = keyed_generator(config.seed, number, 1, at)
        clean = images[rows].to(unet.device)
        noise = torch.randn(clean.shape, generator=random).to(unet.device)
        timesteps = draw_timesteps(len(clean), random).to(unet.device)
        return denoising_loss(config, predict, clean, noise, timesteps)[0]

    def look(step: int) -> float | None:
        randoms = [keyed_generator(config.seed, 99, k) for k in range(PREVIEWS)]
        form = (data.channels, config.size)
        show_samples(config, run, step, predict, randoms, form, label, unet.device)
        return validation_loss(config, predict, held_out.to(unet.device)) if len(held_out) else None

    place = Place(steps, number, models, label)
    train_model(config, run, unet, batch_loss, look, place, kept, {"finished": finished})
