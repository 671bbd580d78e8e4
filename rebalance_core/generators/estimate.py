"""How long a training will take here and what it will leave on disk, before it starts.

Counts the floating-point operations of a step; the speed is that of the last finished training of
the same generator on this machine, else a guess from one matrix product on the CPU.
"""

import shutil
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from rebalance_core.generators.configs import BaganConfig
from rebalance_core.generators.work import bagan_parameters, step_work
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.run import KEPT, read_metrics

OF_A_MATRIX_PRODUCT = 1.1  # the speed of BAGAN-GP's steps beside NumPy's fp32 product, two cores


@dataclass(frozen=True)
class Estimate:
    """`seconds` is None where nothing is known of the machine's speed (a GPU's first training)."""

    seconds: float | None
    disk: int  # bytes: the generator, and the checkpoints that more epochs could start from


def estimate(
    config: BaganConfig, channels: int, classes: int, images: int, earlier: list[RunView]
) -> Estimate:
    """`earlier`: training runs of this workspace, the newest first."""
    parts = bagan_parameters(config.size, channels, classes)
    made, all_of_it = parts["decoder"] + parts["embedding"], sum(parts.values())
    # a checkpoint: the weights, Adam's two moments of three optimizers, the average
    checkpoint = all_of_it + 2 * (all_of_it + made) + (made if config.ema else 0)
    numbers = all_of_it + KEPT * checkpoint
    speed = next((s for v in earlier if (s := measured_speed(v, channels))), None) or guess()
    per_epoch = -(-images // config.batch_size)
    first = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
    second = config.steps or config.epochs * per_epoch
    autoencoder, adversarial = step_work(config, channels)
    work = first * autoencoder + second * adversarial
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
    config = BaganConfig.build(**view.config["training"])
    return step_work(config, channels)[1] / float(np.median(paces))


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
