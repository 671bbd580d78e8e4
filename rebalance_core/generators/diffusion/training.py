"""The training loop of one diffusion model, conditional or not."""

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
from rebalance_core.generators.diffusion.config import (
    EVALUATIONS,
    VALIDATION_LEVELS,
    DiffusionConfig,
)
from rebalance_core.generators.diffusion.formulas import Predict, target, weighted_error
from rebalance_core.runs.run import Run, Score
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import keyed_generator
from rebalance_core.training.rates import warmup_cosine

LOG_LINES = 300  # of the training loss


@dataclass(frozen=True)
class ModelPosition:
    """The position of a model in a run: the `number`-th of `models`, trained for `steps` each."""

    steps: int
    number: int = 0
    models: int = 1
    name: str = ""  # of the model, if there are several

    def step(self, done: int) -> int:
        """The step of the run after `done` steps of this model."""
        return self.number * self.steps + done

    def fraction(self, done: int) -> float:
        """The fraction of the run after `done` steps of this model."""
        return (self.number + done / self.steps) / self.models

    def label(self, metric: str) -> str:
        """A metric's name, with the model's."""
        return f"{metric} {self.name}".strip()


def train_model(
    config: DiffusionConfig,
    run: Run,
    model: nn.Module,
    batch_loss: Callable[[int, int], Tensor],
    evaluate: Callable[[int], float | None],
    place: ModelPosition,
    state: dict[str, Any],
    extra_state: Mapping[str, Any] | None = None,
) -> None:
    """Train `model` in place for `place.steps` updates; it ends with the EMA weights.

    `batch_loss(step, part)` is the loss of one batch; `evaluate(step)` writes previews and returns
    the validation loss. `state` is this model's part of a checkpoint, {} at the start; each
    checkpoint also contains `extra_state`.
    """
    # model, optimizer, EMA
    accelerator = create_accelerator(config.precision)
    prepare_model(model, accelerator)
    optimizer = make_adam(model, config.lr, accelerator)
    ema = EMAModel(model.parameters(), config.ema) if config.ema else None
    if state:
        _load_state(state, model, optimizer, ema)
    # steps
    for step in range(state.get("step", 0), place.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * warmup_cosine(step + 1, config.warmup_steps, place.steps)
        loss = update(config, accelerator, model, optimizer, partial(batch_loss, step))
        if ema is not None:
            ema.step(model.parameters())
        # log, evaluate
        done, last = step + 1, step + 1 == place.steps
        if last or done % max(1, place.steps // LOG_LINES) == 0:
            run.log(place.step(done), **{place.label("loss"): _check_finite(loss, place, done)})
        score = None
        if last or done % max(1, place.steps // EVALUATIONS) == 0:
            with averaged(model, ema), accelerator.autocast():
                score = _evaluate(run, evaluate, place, done)
        run.progress(
            place.fraction(done), f"{place.name}, step {done} of {place.steps}".lstrip(", ")
        )
        # checkpoint, unless the loss is not finite
        if run.is_checkpoint_due() or score is not None:
            _check_finite(loss, place, done)
        if not last:
            run.checkpoint_or_stop(
                {
                    **(extra_state or {}),
                    "step": done,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": ema.state_dict() if ema is not None else None,
                },
                score,
            )
    if ema is not None:
        ema.copy_to(model.parameters())


def prepare_model(model: nn.Module, accelerator: Accelerator) -> None:
    """Move the model to the device, channels last and in eval mode, where a step is fastest.

    No layer differs in training mode (no dropout, no batch norm), but there the blocks of diffusers
    would copy their input into another memory format.
    """
    model.to(accelerator.device).to(memory_format=torch.channels_last).eval()


def make_adam(model: nn.Module, lr: float, accelerator: Accelerator) -> torch.optim.Adam:
    """Adam (paper 5.3), fused where torch supports it."""
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
    """One update from `config.accumulation` batches; returns the mean of their losses, detached."""
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
    noisy, objective = target(clean, noise, timesteps, config.prediction, config.schedule)
    pred = predict(noisy, timesteps)
    loss = weighted_error(
        pred, objective, timesteps, config.prediction, config.schedule, config.min_snr
    )
    return loss, noisy, pred


def validation_loss(config: DiffusionConfig, predict: Predict, held_out: Tensor) -> float:
    """Unweighted loss of `held_out` (n, C, H, W), with fixed noise, at VALIDATION_LEVELS levels."""
    noise = torch.randn(held_out.shape, generator=keyed_generator(0)).to(held_out.device)
    unweighted = config.model_copy(update={"min_snr": None})
    losses = []
    for level in torch.linspace(0.1, 0.9, VALIDATION_LEVELS) * TIMESTEPS:
        timesteps = torch.full((len(held_out),), int(level), device=held_out.device)
        losses.append(denoising_loss(unweighted, predict, held_out, noise, timesteps)[0].item())
    return sum(losses) / len(losses)


@contextmanager
def averaged(model: nn.Module, ema: EMAModel | None) -> Iterator[None]:
    """Context in which the model has the EMA weights and computes no gradients."""
    if ema is not None:
        ema.store(model.parameters())
        ema.copy_to(model.parameters())
    try:
        with torch.no_grad():
            yield
    finally:
        if ema is not None:
            ema.restore(model.parameters())


def _load_state(
    state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel | None
) -> None:
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if ema is not None:
        ema.load_state_dict(state["average"])
        ema.to(next(model.parameters()).device)


def _check_finite(loss: Tensor, place: ModelPosition, done: int) -> float:
    """The loss as a number; raises UserError if it is NaN or infinite."""
    value = loss.item()
    if not math.isfinite(value):
        raise UserError(
            f"The {place.label('loss of')} is {value} at step {done}; a smaller lr helps."
            if place.name
            else f"The loss is {value} at step {done}; a smaller lr helps."
        )
    return value


def _evaluate(
    run: Run, evaluate: Callable[[int], float | None], place: ModelPosition, done: int
) -> Score | None:
    loss = evaluate(place.step(done))
    if loss is None:
        return None
    score = (place.label("validation loss"), loss)
    run.log(place.step(done), **dict([score]))
    return score
