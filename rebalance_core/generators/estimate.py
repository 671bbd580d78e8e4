"""How long a training will take here and what it will leave on disk, before it starts.

Counts the floating-point operations of a step; the speed is that of the last finished training of
the same generator on this machine, else a guess from one matrix product on the CPU.
"""

import shutil
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from rebalance_core.generators.configs import BaganConfig
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.run import read_metrics

BASE, LATENT, HIDDEN = 4, 128, 512  # px, numbers: as in models/bagan_gp.py
OF_A_MATRIX_PRODUCT = 1.1  # the speed of BAGAN-GP's steps beside NumPy's fp32 product, two cores


@dataclass(frozen=True)
class Estimate:
    """`seconds` is None where nothing is known of the machine's speed (a GPU's first training)."""

    seconds: float | None
    disk: int  # bytes: the generator, and the checkpoint that more epochs could start from


def widths(size: int) -> list[int]:
    """Channels after each stride-2 stage."""
    return [64] + [128] * ((size // BASE).bit_length() - 3) + [256]


def stack_products(size: int, channels: int) -> int:
    """Multiplications of one image through the stride-2 convolutions, either way."""
    stages = enumerate(pairwise([channels, *widths(size)]), start=1)
    return sum((size // 2**n) ** 2 * a * b * 16 for n, (a, b) in stages)


def bagan_work(config: BaganConfig, channels: int, images: int) -> float:
    """Floating-point operations of the whole training: forward 1, backward 2, the penalty 4."""
    stack, flat = stack_products(config.size, channels), 256 * BASE**2
    autoencoder = 3 * (2 * stack + 2 * flat * LATENT)
    head, make = flat * HIDDEN, stack + flat * LATENT
    discriminator = make + (2 * 3 + 4) * stack + (3 * 3 + 4) * head
    adversarial = config.discriminator_updates * discriminator + 3 * make + 2 * (stack + head)
    per_epoch = -(-images // config.batch_size)
    first = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
    second = config.steps or config.epochs * per_epoch
    batch = min(config.batch_size, images)
    return 2.0 * batch * (first * autoencoder + second * adversarial)


def bagan_parameters(size: int, channels: int, classes: int) -> dict[str, int]:
    """Trainable parameters of the four parts."""
    flat, stages = 256 * BASE**2, list(pairwise([channels, *widths(size)]))
    convolutions = sum(a * b * 16 + b for a, b in stages)
    up = sum(a * b * 16 + a for a, b in stages) + 2 * sum(a for a, _ in stages[1:])
    return {
        "encoder": convolutions + (flat + 1) * LATENT,
        "decoder": up + (LATENT + 1) * flat,
        "embedding": classes * LATENT,
        "discriminator": convolutions
        + classes * HIDDEN + (HIDDEN + 1) * flat + (flat + 1) * HIDDEN + HIDDEN + 1,
    }  # fmt: skip


def estimate(
    config: BaganConfig, channels: int, classes: int, images: int, earlier: list[RunView]
) -> Estimate:
    """`earlier`: training runs of this workspace, the newest first."""
    parts = bagan_parameters(config.size, channels, classes)
    made, all_of_it = parts["decoder"] + parts["embedding"], sum(parts.values())
    # weights twice (result, checkpoint), Adam's two moments of three optimizers, the average
    moments = 2 * (all_of_it + made)
    numbers = 2 * all_of_it + moments + (made if config.ema else 0)
    speed = next((s for v in earlier if (s := measured_speed(v, channels))), None) or guess()
    work = bagan_work(config, channels, images)
    return Estimate(None if speed is None else work / speed, 4 * numbers)


def measured_speed(view: RunView, channels: int) -> float | None:
    """Operations a second of a finished training of BAGAN-GP, from the times it logged."""
    if view.kind != "train" or view.status != "done" or view.config["generator"] != "bagan-gp":
        return None
    lines = [m for m in read_metrics(view.path) if "discriminator_loss" in m]
    paces = [
        (b["time"] - a["time"]) / (b["step"] - a["step"])
        for a, b in pairwise(lines)
        if b["step"] > a["step"]
    ]
    if len(paces) < 3:
        return None
    one: dict[str, Any] = {"autoencoder_steps": 1, "steps": 1}
    config = BaganConfig.build(**view.config["training"])
    step, two = (
        bagan_work(config.model_copy(update={**one, "steps": n}), channels, config.batch_size)
        for n in (1, 2)
    )
    return (two - step) / float(np.median(paces))


@cache
def guess() -> float | None:
    """Operations a second from one matrix product; None with a GPU, of which it says nothing."""
    if shutil.which("nvidia-smi"):
        return None
    side = 1024
    matrix = np.ones((side, side), np.float32)
    matrix @ matrix  # threads start
    began = time.perf_counter()
    matrix @ matrix
    return OF_A_MATRIX_PRODUCT * 2 * side**3 / (time.perf_counter() - began)
