"""One denoising diffusion model per minority class (paper sections 3.2, 5.3; arXiv 2006.11239)."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
)
from torch import Tensor

from models.unet import TIMESTEPS, noise_schedule, seeded_unet
from rebalance_core.device import (
    batch_rows,
    derived_seed,
    generator,
    open_device,
    steps_per_epoch,
    to_uint8,
    to_unit,
    warmup_cosine,
)
from rebalance_core.errors import UserError
from rebalance_core.files import read_json, write_json
from rebalance_core.generators.base import SAMPLE_BATCH, Generator, TrainingData
from rebalance_core.generators.configs import DdpmConfig
from rebalance_core.images import grid
from rebalance_core.runs.run import Run, Score

# Each keeps its guess of the clean image within [-1, 1]: at the noisiest steps a small error of
# the predicted noise is a hundred times larger in the image.
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": True}),
    "ddim": (DDIMScheduler, {"clip_sample": True}),
    "dpm-solver++": (
        DPMSolverMultistepScheduler,
        {"thresholding": True, "sample_max_value": 1.0, "timestep_spacing": "trailing"},
    ),
}
PREVIEWS = 8  # images in a row
LOOKS = 5  # validations and previews in a class's training
VALIDATION_LEVELS = 4  # fixed noise levels a validation image is measured at
VALIDATION_IMAGES = 16


def denoising_loss(
    model: Any, clean: Tensor, noise: Tensor, timesteps: Tensor, prediction: str
) -> Tensor:
    """Mean squared error of the predicted noise (Ho et al. 2020, eq. 14), or of the predicted
    velocity (Salimans and Ho 2022, arXiv 2202.00512); images and noise (n, C, H, W)."""
    schedule = noise_schedule(prediction)
    noisy = schedule.add_noise(clean, noise, timesteps)
    velocity = prediction == "v_prediction"
    target = schedule.get_velocity(clean, noise, timesteps) if velocity else noise
    return F.mse_loss(model(noisy, timesteps).sample.float(), target)


def denoise(
    model: UNet2DModel,
    randoms: list[torch.Generator],
    sampler: str,
    steps: int,
    prediction: str,
) -> Tensor:
    """One image for each random generator: float (n, C, size, size) about [-1, 1]."""
    shape = (1, model.config.in_channels, model.config.sample_size, model.config.sample_size)
    noisy = torch.cat([torch.randn(shape, generator=r) for r in randoms]).to(model.device)
    kind, options = SAMPLERS[sampler]
    scheduler = kind.from_config(noise_schedule(prediction).config, **options)
    scheduler.set_timesteps(steps)
    # Only the ancestral sampler draws noise on its way: each image from its own generator.
    extra = {"generator": randoms} if sampler == "ddpm" else {}
    for t in scheduler.timesteps:
        noisy = scheduler.step(model(noisy, t).sample.float(), t, noisy, **extra).prev_sample
    return noisy


class DdpmGenerator(Generator):
    def __init__(self, unets: dict[str, UNet2DModel], config: DdpmConfig) -> None:
        self.unets = {label: unet.eval() for label, unet in unets.items()}
        self.classes = tuple(unets)
        first = next(iter(unets.values()))
        self.size, self.channels = first.config.sample_size, first.config.in_channels
        self.config = config

    @classmethod
    def fit(cls, config: DdpmConfig, data: TrainingData, run: Run) -> Self:
        return cls(_train(config, data, run), config)

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        name = sampler.pop("sampler", None) or self.config.sampler
        steps = sampler.pop("steps", None) or self.config.sampler_steps
        if sampler:
            raise UserError(f"A DDPM has no {' or '.join(sampler)} to set.")
        if name not in SAMPLERS or not 1 <= steps <= TIMESTEPS:
            raise UserError(
                f"A DDPM is sampled with {', '.join(SAMPLERS)} in 1 to {TIMESTEPS} steps, not with "
                f"{name!r} in {steps} steps."
            )
        accelerator = open_device(self.config.precision)
        # The memory format decides how sums are rounded: the same for trained and loaded weights.
        unet = self.unets[label].to(accelerator.device).to(memory_format=torch.channels_last)
        number = self.classes.index(label)
        for start in range(first, first + count, SAMPLE_BATCH):
            stop = min(start + SAMPLE_BATCH, first + count)
            randoms = [generator(seed, number, k) for k in range(start, stop)]
            with torch.no_grad(), accelerator.autocast():
                yield to_uint8(denoise(unet, randoms, name, steps, self.config.prediction))

    def save(self, folder: Path) -> None:
        """A pipeline a class, opened by `DDPMPipeline.from_pretrained(folder/class-0)`, …"""
        schedule = noise_schedule(self.config.prediction)
        for number, unet in enumerate(self.unets.values()):
            DDPMPipeline(unet, schedule).save_pretrained(folder / f"class-{number}")
        about = {"classes": self.classes, "config": self.config.model_dump(mode="json")}
        write_json(folder / "ddpm.json", about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not (folder / "ddpm.json").exists():
            raise UserError(f"{folder} holds no DDPM of ours; it needs ddpm.json and class-*/.")
        about = read_json(folder / "ddpm.json")
        try:
            unets = {
                label: UNet2DModel.from_pretrained(
                    folder / f"class-{number}" / "unet", use_safetensors=True, local_files_only=True
                )
                for number, label in enumerate(about["classes"])
            }
            return cls(unets, DdpmConfig.build(**about["config"]))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, StopIteration) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{folder} holds no readable DDPM ({told}).") from error


def _train(config: DdpmConfig, data: TrainingData, run: Run) -> dict[str, UNet2DModel]:
    """Train the classes one after the other; a checkpoint keeps the finished ones whole."""
    wanted = config.classes or data.minority
    unknown = set(wanted) - set(data.classes)
    if unknown:
        raise UserError(f"There is no class {', '.join(unknown)} in this training set.")
    kept = run.restore() or {"finished": {}, "step": 0, "model": None, "optimizer": None}
    run.log(kept["step"], event="start", label=wanted[min(len(kept["finished"]), len(wanted) - 1)])
    unets: dict[str, UNet2DModel] = {}
    for number, label in enumerate(wanted):
        unet = seeded_unet(
            config.size, data.channels, config.widths, config.layers, config.attention,
            derived_seed(config.seed, number, 0),
        )  # fmt: skip
        unets[label] = unet
        if label in kept["finished"]:
            unet.load_state_dict(kept["finished"][label])
            continue
        _train_class(config, data, run, unet, number, label, wanted, kept)
        kept["finished"][label] = unet.state_dict()
        kept.update(step=0, model=None, optimizer=None)
    return unets


def _train_class(
    config: DdpmConfig,
    data: TrainingData,
    run: Run,
    unet: UNet2DModel,
    number: int,
    label: str,
    wanted: tuple[str, ...],
    kept: dict[str, Any],
) -> None:
    # data: one class, in memory
    index = data.classes.index(label)
    images = to_unit(data.train.images[data.train.labels == index])
    held_out = to_unit(data.validation.images[data.validation.labels == index][:VALIDATION_IMAGES])
    total = config.steps or config.epochs * steps_per_epoch(len(images), config.batch_size)
    # model, optimizer, device
    accelerator = open_device(config.precision)
    unet.to(accelerator.device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(unet.parameters(), config.lr)
    if kept["model"] is not None:
        unet.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
    # steps
    for step in range(kept["step"], total):
        rows = batch_rows(len(images), config.batch_size, step, config.seed, number)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * warmup_cosine(step + 1, config.warmup_steps, total)
        random = generator(config.seed, number, 1, step)
        with accelerator.autocast():
            loss = _noisy_loss(config, unet, images[rows], random, accelerator.device)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        # say what happened
        done, last = step + 1, step + 1 == total
        if last or done % max(1, total // 300) == 0:
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(
                    f"The loss of {label} is {value} at step {done}; a smaller lr helps."
                )
            run.log(number * total + done, **{f"loss {label}": value})
        score = None
        if last or done % max(1, total // LOOKS) == 0:
            with accelerator.autocast():
                score = _look(config, run, unet, held_out, label, number * total + done)
        run.progress((number + done / total) / len(wanted), f"{label}, step {done} of {total}")
        if not last:
            run.stop_here({
                "finished": kept["finished"], "step": done,
                "model": unet.state_dict(), "optimizer": optimizer.state_dict(),
            }, score)  # fmt: skip


def _noisy_loss(
    config: DdpmConfig,
    unet: UNet2DModel,
    clean: Tensor,
    random: torch.Generator,
    device: torch.device,
) -> Tensor:
    noise = torch.randn(clean.shape, generator=random).to(device)
    timesteps = torch.randint(TIMESTEPS, (len(clean),), generator=random).to(device)
    return denoising_loss(unet, clean.to(device), noise, timesteps, config.prediction)


@torch.no_grad()
def _look(
    config: DdpmConfig, run: Run, unet: UNet2DModel, held_out: Tensor, label: str, step: int
) -> Score | None:
    """Validation loss on fixed noise, and a row of samples from fixed seeds; mode restored."""
    unet.eval()
    score = None
    if len(held_out):
        spread = torch.linspace(0.1, 0.9, VALIDATION_LEVELS) * TIMESTEPS
        levels = spread.long().repeat_interleave(len(held_out)).to(unet.device)
        clean = held_out.repeat(VALIDATION_LEVELS, 1, 1, 1).to(unet.device)
        noise = torch.randn(clean.shape, generator=generator(0)).to(unet.device)
        loss = denoising_loss(unet, clean, noise, levels, config.prediction).item()
        score = (f"validation loss {label}", loss)
        run.log(step, **dict([score]))
    randoms = [generator(config.seed, 99, k) for k in range(PREVIEWS)]
    images = to_uint8(denoise(unet, randoms, "dpm-solver++", 15, config.prediction))
    run.preview(step, grid(images, PREVIEWS), label)
    unet.train()
    return score
