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
from rebalance_core.generators.diffusion.loading import read_unet
from rebalance_core.generators.diffusion.sampling import DiffusionGenerator, preview_samples
from rebalance_core.generators.diffusion.training import (
    ModelPosition,
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
        self, label: str, seed: int, rows: range, device: torch.device, **options: Any
    ) -> Predict:
        return unconditional(self.unets[label].to(device))

    def save(self, folder: Path) -> None:
        """Write one pipeline per class, for `DDPMPipeline.from_pretrained(folder / "class-0")`."""
        schedule = noise_schedule(self.config.prediction, self.config.schedule)
        for number, unet in enumerate(self.unets.values()):
            DDPMPipeline(unet, schedule).save_pretrained(folder / f"class-{number}")
        record = {"classes": self.classes, "config": self.config.model_dump(mode="json")}
        write_json(folder / self.file, record)

    @classmethod
    def read(cls, folder: Path) -> Self:
        record = read_json(folder / cls.file)
        folders = {label: folder / f"class-{n}" for n, label in enumerate(record["classes"])}
        for path in folders.values():
            if not (path / "model_index.json").exists():
                raise UserError(f"{path} is not a diffusers pipeline: model_index.json is missing.")
        config = DdpmConfig.build(**record["config"])
        unets = {label: read_unet(path / "unet", config) for label, path in folders.items()}
        return cls(unets, config)


def unconditional(unet: UNet2DModel) -> Predict:
    """The network as a function of noisy images and timesteps."""
    return lambda noisy, timesteps: unet(noisy, timesteps).sample.float()


def _train(config: DdpmConfig, data: TrainingData, run: Run) -> dict[str, UNet2DModel]:
    """Train one model per class, in order; a checkpoint contains the finished models."""
    labels = config.classes or data.minority
    unknown = set(labels) - set(data.classes)
    if unknown:
        raise UserError(f"There is no class {', '.join(unknown)} in this training set.")
    state = run.restore() or {"finished": {}, "step": 0}
    finished: dict[str, Any] = state.pop("finished")
    run.log(state["step"], event="start", label=labels[min(len(finished), len(labels) - 1)])
    unets: dict[str, UNet2DModel] = {}
    for number, label in enumerate(labels):
        unet = seeded_unet(config.unet_shape(data.channels), derive_seed(config.seed, number, 0))
        unets[label] = unet
        if label in finished:
            unet.load_state_dict(finished[label])
            continue
        own_state = state if state["step"] else {}
        _train_class(config, data, run, unet, (number, label, len(labels)), own_state, finished)
        finished[label] = unet.state_dict()
        state = {"step": 0}
    return unets


def _train_class(
    config: DdpmConfig,
    data: TrainingData,
    run: Run,
    unet: UNet2DModel,
    position: tuple[int, str, int],
    state: dict[str, Any],
    finished: dict[str, Any],
) -> None:
    """Train the model of one class; `position` is (its number, its class, number of models)."""
    number, label, models = position
    # data: one class, in memory
    index = data.classes.index(label)
    images = to_float(data.train.images[data.train.labels == index])
    held_out = to_float(data.validation.images[data.validation.labels == index][:VALIDATION_IMAGES])
    batch = config.batch_size * config.accumulation
    steps = config.steps or config.epochs * steps_per_epoch(len(images), batch)
    predict = unconditional(unet)

    def batch_loss(step: int, part: int) -> Tensor:
        batch_number = step * config.accumulation + part
        rows = batch_indices(len(images), config.batch_size, batch_number, config.seed, number)
        random = keyed_generator(config.seed, number, 1, batch_number)
        clean = images[rows].to(unet.device)
        noise = torch.randn(clean.shape, generator=random).to(unet.device)
        timesteps = draw_timesteps(len(clean), random).to(unet.device)
        return denoising_loss(config, predict, clean, noise, timesteps)[0]

    def evaluate(step: int) -> float | None:
        randoms = [keyed_generator(config.seed, 99, k) for k in range(PREVIEWS)]
        shape = (data.channels, config.size)
        preview_samples(config, run, step, predict, randoms, shape, label, unet.device)
        return validation_loss(config, predict, held_out.to(unet.device)) if len(held_out) else None

    place = ModelPosition(steps, number, models, label)
    train_model(config, run, unet, batch_loss, evaluate, place, state, {"finished": finished})
