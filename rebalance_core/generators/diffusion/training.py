"""The loop that trains one diffusion model, whatever it is told of its images."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from models.unet import TIMESTEPS
from rebalance_core.errors import UserError
from rebalance_core.generators.diffusion.config import LOOKS, VALIDATION_LEVELS, DiffusionConfig
from rebalance_core.generators.diffusion.formulas import Predict, target, weighted_error
from rebalance_core.runs.run import Run, Score
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import keyed_generator
from rebalance_core.training.rates import warmup_cosine

LOGGED = 300  # lines of training loss


@dataclass(frozen=True)
class Place:
    """Where in the run a model stands: the `number`-th of `models`, trained for `steps` each."""

    steps: int
    number: int = 0
    models: int = 1
    name: str = ""  # of the model, where there are several

    def step(self, done: int) -> int:
        return self.number * self.steps + done

    def fraction(self, done: int) -> float:
        return (self.number + done / self.steps) / self.models

    def named(self, what: str) -> str:
        return f"{what} {self.name}".strip()


def train_model(
    config: DiffusionConfig,
    run: Run,
    model: nn.Module,
    batch_loss: Callable[[int, int], Tensor],
    look: Callable[[int], float | None],
    place: Place,
    kept: dict[str, Any],
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Train `model` in place up to `place.steps`; what is left in it are the averaged weights.

    `batch_loss(step, part)` is the loss of one batch; `look(step)` shows images and returns the
    validation loss. `kept` is what a checkpoint held of this model, {} at the beginning; each
    checkpoint holds `beside` too.
    """
    # model, optimizer, average
    accelerator = create_accelerator(config.precision)
    make_ready(model, accelerator)
    optimizer = open_adam(model, config.lr, accelerator)
    average = EMAModel(model.parameters(), config.ema) if config.ema else None
    if kept:
        _load(kept, model, optimizer, average)
    # steps
    for step in range(kept.get("step", 0), place.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * warmup_cosine(step + 1, config.warmup_steps, place.steps)
        loss = update(config, accelerator, model, optimizer, partial(batch_loss, step))
        if average is not None:
            average.step(model.parameters())
        # say what happened
        done, last = step + 1, step + 1 == place.steps
        if last or done % max(1, place.steps // LOGGED) == 0:
            run.log(place.step(done), **{place.named("loss"): _finite(loss, place, done)})
        score = None
        if last or done % max(1, place.steps // LOOKS) == 0:
            with averaged(model, average), accelerator.autocast():
                score = _look(run, look, place, done)
        told = place.named("")
        run.progress(place.fraction(done), f"{told}, step {done} of {place.steps}".lstrip(", "))
        # keep it, unless it is broken
        if run.is_checkpoint_due() or score is not None:
            _finite(loss, place, done)
        if not last:
            run.checkpoint_or_stop(
                {
                    **(beside or {}),
                    "step": done,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state_dict() if average is not None else None,
                },
                score,
            )
    if average is not None:
        average.copy_to(model.parameters())


def make_ready(model: nn.Module, accelerator: Accelerator) -> None:
    """On the device, as a training step is fastest: channels last, and in eval mode. No layer here
    behaves otherwise in training (no dropout, no batch norm), but diffusers' blocks would then copy
    their input into another order of memory."""
    model.to(accelerator.device).to(memory_format=torch.channels_last).eval()


def open_adam(model: nn.Module, lr: float, accelerator: Accelerator) -> torch.optim.Adam:
    """Adam (paper 5.3); fused where torch has that."""
    return torch.optim.Adam(
        model.parameters(), lr, fused=accelerator.device.type in ("cpu", "cuda")
    )


def update(
    config: DiffusionConfig,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    part_loss: Callable[[int], Tensor],
) -> Tensor:
    """One update from `config.accumulation` batches; the mean of their losses, detached."""
    losses = []
    optimizer.zero_grad(set_to_none=True)
    for part in range(config.accumulation):
        with accelerator.autocast():
            loss = part_loss(part)
        accelerator.backward(loss / config.accumulation)
        losses.append(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return torch.stack(losses).mean()


def denoising_loss(
    config: DiffusionConfig, predict: Predict, clean: Tensor, noise: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, noisy images, prediction) of clean images (n, C, H, W) under the given noise."""
    noisy, wanted = target(clean, noise, timesteps, config.prediction, config.schedule)
    predicted = predict(noisy, timesteps)
    loss = weighted_error(
        predicted, wanted, timesteps, config.prediction, config.schedule, config.min_snr
    )
    return loss, noisy, predicted


def validation_loss(config: DiffusionConfig, predict: Predict, held_out: Tensor) -> float:
    """Unweighted loss of `held_out` (n, C, H, W) on fixed noise at VALIDATION_LEVELS fixed levels;
    `predict` is given one level after the other."""
    noise = torch.randn(held_out.shape, generator=keyed_generator(0)).to(held_out.device)
    plain = config.model_copy(update={"min_snr": None})
    losses = []
    for level in torch.linspace(0.1, 0.9, VALIDATION_LEVELS) * TIMESTEPS:
        timesteps = torch.full((len(held_out),), int(level), device=held_out.device)
        losses.append(denoising_loss(plain, predict, held_out, noise, timesteps)[0].item())
    return sum(losses) / len(losses)


@contextmanager
def averaged(model: nn.Module, average: EMAModel | None) -> Iterator[None]:
    """Within, the model has the averaged weights; no gradients."""
    if average is not None:
        average.store(model.parameters())
        average.copy_to(model.parameters())
    try:
        with torch.no_grad():
            yield
    finally:
        if average is not None:
            average.restore(model.parameters())


def _load(
    kept: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: EMAModel | None,
) -> None:
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    if average is not None:
        average.load_state_dict(kept["average"])
        average.to(next(model.parameters()).device)


def _finite(loss: Tensor, place: Place, done: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise UserError(
            f"The {place.named('loss of')} is {value} at step {done}; a smaller lr helps."
            if place.name
            else f"The loss is {value} at step {done}; a smaller lr helps."
        )
    return value


def _look(run: Run, look: Callable[[int], float | None], place: Place, done: int) -> Score | None:
    loss = look(place.step(done))
    if loss is None:
        return None
    score = (place.named("validation loss"), loss)
    run.log(place.step(done), **dict([score]))
    return score
