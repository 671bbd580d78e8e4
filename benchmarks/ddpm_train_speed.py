"""Claim: the paper's U-Net trains at least 2.3 times as fast as in the usual loop, equally well.

Phantoms of 64 px, batch 16, the paper's U-Net, noise schedule and learning rate with warm-up. Ours:
one step of our loop, in a process with a worker's environment. Theirs: one step as in diffusers'
examples (fp32, contiguous, a DataLoader, AdamW), in a process with the default environment. From
the same weights, on the same images, noise and timesteps, interleaved while the other process
sleeps: five pairs after five warm-up pairs (which allocate memory). Guard: each step's losses
differ by at most 2 %.

Also reported: the U-Net of `conditional-ddpm small` beside the paper's, both in our loop,
predicting the noise: images per second, and the validation loss after equal training times.
About six minutes on two cores.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._report import medians, report
from models.unet import (
    AUGMENT_DIM,
    ConditionalUNet,
    noise_schedule,
    seeded_conditional_unet,
    seeded_unet,
)
from rebalance_core.datasets.phantom import make_phantom
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig
from rebalance_core.generators.diffusion.formulas import Predict, draw_timesteps
from rebalance_core.generators.diffusion.training import (
    denoising_loss,
    make_adam,
    prepare_model,
    update,
    validation_loss,
)
from rebalance_core.runs.executor import WORKER_ENVIRONMENT
from rebalance_core.training.batches import to_float
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import keyed_generator
from rebalance_core.training.rates import warmup_cosine

PAIRS, WARMUP_PAIRS = 5, 5
STEPS = 1000  # of the learning rate schedule
TOLERANCE = 0.02  # relative difference of the losses
TRAINING_SECONDS = 60.0  # of each U-Net
HELD_OUT = 64
PAPER = DdpmConfig.from_preset("paper", size=64)
SMALL = ConditionalDdpmConfig.from_preset("small")


def paper_unet() -> UNet2DModel:
    return seeded_unet(PAPER.unet_shape(1), 0)


def small_unet() -> ConditionalUNet:
    return seeded_conditional_unet(
        SMALL.unet_shape(1), 0, unshuffle=SMALL.unshuffle, classes=1, poses=0
    )


def predict_of(model: nn.Module) -> Predict:
    if isinstance(model, ConditionalUNet):

        def predict(noisy: Tensor, t: Tensor) -> Tensor:
            none = torch.zeros(len(noisy), dtype=torch.long, device=noisy.device)
            warp = torch.zeros(len(noisy), AUGMENT_DIM, device=noisy.device)
            predicted: Tensor = model(noisy, t, none, none, warp)
            return predicted

        return predict
    return lambda noisy, t: model(noisy, t).sample


class Ours:
    """A step of our loop."""

    def __init__(self, model: nn.Module, images: Tensor, warmup: int) -> None:
        self.accelerator = create_accelerator("auto")
        prepare_model(model, self.accelerator)
        self.model, self.images, self.warmup, self.done = model, images, warmup, 0
        self.optimizer = make_adam(self.model, PAPER.lr, self.accelerator)
        self.predict = predict_of(self.model)

    def step(self, rows: Tensor, noise: Tensor, timesteps: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = PAPER.lr * warmup_cosine(self.done + 1, self.warmup, STEPS)
        device = self.accelerator.device
        clean = self.images[rows].to(device)

        def loss(part: int) -> Tensor:
            return denoising_loss(
                PAPER, self.predict, clean, noise.to(device), timesteps.to(device)
            )[0]

        self.done += 1
        return update(PAPER, self.accelerator, self.model, self.optimizer, loss).item()

    def validation(self, held_out: Tensor) -> float:
        with torch.no_grad(), self.accelerator.autocast():
            return validation_loss(PAPER, self.predict, held_out.to(self.accelerator.device))


class Theirs:
    """A step of diffusers' examples, on the same batches."""

    def __init__(self, model: nn.Module) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=PAPER.lr)
        self.lr_scheduler = get_cosine_schedule_with_warmup(
            self.optimizer, PAPER.warmup_steps, STEPS
        )
        self.lr_scheduler.step()  # ours counts from 1
        self.noise_scheduler = noise_schedule("epsilon")

    def step(self, batch: Tensor, noise: Tensor, timesteps: Tensor) -> float:
        clean, noise, timesteps = (t.to(self.device) for t in (batch, noise, timesteps))
        noisy = self.noise_scheduler.add_noise(clean, noise, timesteps)
        loss = F.mse_loss(self.model(noisy, timesteps, return_dict=False)[0], noise)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        return loss.item()


def draw_batch(images: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row indices, noise and timesteps of a step's batch."""
    random = keyed_generator(0, step)
    rows = torch.randint(len(images), (PAPER.batch_size,), generator=random)
    noise = torch.randn((len(rows), *images.shape[1:]), generator=random)
    return rows, noise, draw_timesteps(len(rows), random)


def serve_steps(side: str) -> None:
    """Read step numbers from stdin, one per line; print seconds and loss of each step."""
    images = phantoms()[HELD_OUT:]
    ours = Ours(paper_unet(), images, PAPER.warmup_steps) if side == "ours" else None
    theirs = Theirs(paper_unet()) if side == "theirs" else None
    for line in sys.stdin:
        rows, noise, timesteps = draw_batch(images, int(line))
        loader = DataLoader(TensorDataset(images[rows].contiguous()), PAPER.batch_size)
        start = time.perf_counter()
        if ours is not None:
            loss = ours.step(rows, noise, timesteps)
        if theirs is not None:
            loss = theirs.step(next(iter(loader))[0], noise, timesteps)
        print(time.perf_counter() - start, loss, flush=True)


@contextmanager
def process(mode: str) -> Iterator["subprocess.Popen[str]"]:
    """This file in a subprocess; all modes but `theirs` have a worker's environment."""
    default = {k: v for k, v in os.environ.items() if k not in WORKER_ENVIRONMENT}
    child = subprocess.Popen(
        [sys.executable, __file__, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=default if mode == "theirs" else {**default, **WORKER_ENVIRONMENT},
    )
    with child:
        yield child


def race() -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(ours, theirs) seconds of the measured pairs, and losses of all pairs."""
    times, losses = [], []
    with process("ours") as ours, process("theirs") as theirs:
        for number in range(WARMUP_PAIRS + PAIRS):
            a, b = time_step(ours, number), time_step(theirs, number)
            if number >= WARMUP_PAIRS:
                times.append((a[0], b[0]))
            losses.append((a[1], b[1]))
            print(
                f"step {number}: {a[0]:.2f} and {b[0]:.2f} s, losses {a[1]:.4f} and {b[1]:.4f}",
                file=sys.stderr,
                flush=True,
            )
    return times, losses


def time_step(side: "subprocess.Popen[str]", number: int) -> tuple[float, float]:
    """Seconds and loss of a step."""
    assert side.stdin is not None and side.stdout is not None
    print(number, file=side.stdin, flush=True)
    seconds, loss = side.stdout.readline().split()
    return float(seconds), float(loss)


def train_for_a_time(name: str) -> dict[str, float]:
    """Images per second, and the validation loss after TRAINING_SECONDS in our loop."""
    images = phantoms()
    model = small_unet() if name == "small" else paper_unet()
    ours, start, step = Ours(model, images[HELD_OUT:], warmup=10), time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < TRAINING_SECONDS:
        ours.step(*draw_batch(images[HELD_OUT:], step))
        step += 1
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "images_a_second": round(step * PAPER.batch_size / spent, 2),
        "validation_loss": round(ours.validation(images[:HELD_OUT]), 4),
    }


def phantoms() -> Tensor:
    return to_float(make_phantom(600, size=PAPER.size).images[..., None])


def result_of(mode: str) -> dict[str, float]:
    with process(mode) as child:
        result: dict[str, float] = json.loads(child.communicate()[0])
        return result


def main() -> int:
    if sys.argv[1:] in (["ours"], ["theirs"]):
        serve_steps(sys.argv[1])
        return 0
    if sys.argv[1:] in (["small"], ["paper"]):
        print(json.dumps(train_for_a_time(sys.argv[1])))
        return 0
    times, losses = race()
    difference = max(abs(o - t) / t for o, t in losses)
    after: dict[str, Any] = {
        f"after_{TRAINING_SECONDS:.0f}_s": {
            "small": result_of("small"),
            "paper": result_of("paper"),
        }
    }
    return report(
        claim="a training step of the paper's U-Net, 64 px, batch 16",
        **medians([o for o, _ in times], [t for _, t in times]),
        unit="s",
        target=2.3,
        guards={
            "losses": [[round(o, 4), round(t, 4)] for o, t in losses],
            "furthest_apart": round(difference, 4),
            "close": difference <= TOLERANCE,
        },
        pairs=[[round(o, 2), round(t, 2)] for o, t in times],
        **after,
    )


if __name__ == "__main__":
    sys.exit(main())
