"""How long a training will take here and what it will leave on disk, before it starts.

Counts the floating-point operations of a step; the speed is that of the last finished training of
the same generator on this machine, else a guess from one matrix product on the CPU.
"""

import re
import shutil
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.configs import CONFIGS
from rebalance_core.generators.diffusion.config import (
    LOOKS,
    PREVIEW_STEPS,
    PREVIEWS,
    VALIDATION_IMAGES,
    VALIDATION_LEVELS,
    ConditionalDdpmConfig,
    DdpmConfig,
    DiffusionConfig,
)
from rebalance_core.generators.flops import bagan_parameters, diffusion_work, step_work, unet_count
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.run import KEPT, read_metrics
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

Trained = BaganConfig | DdpmConfig | ConditionalDdpmConfig
# The speed of a generator's steps beside NumPy's fp32 product, on two cores, at `quick` and `small`
# (the paper's wide U-Net comes to 1.5).
OF_A_MATRIX_PRODUCT = {BaganConfig: 1.1, DdpmConfig: 0.45, ConditionalDdpmConfig: 0.45}
_OF_A_STEP = re.compile(r"discriminator_loss$|loss( |$)")  # the names a step's loss is logged under


@dataclass(frozen=True)
class Estimate:
    """`seconds` is None where nothing is known of the machine's speed (a GPU's first training)."""

    seconds: float | None
    disk: int  # bytes: the generator, and the checkpoints


def estimate_here(workspace: Workspace, config: Trained, chosen: TrainingSet) -> Estimate:
    """By the trainings of this workspace."""
    channels = open_dataset(workspace, chosen.config.dataset).channels
    return estimate(config, chosen, channels, list_runs(workspace, "train"))


def estimate(
    config: Trained, chosen: TrainingSet, channels: int, earlier: list[RunView]
) -> Estimate:
    """`earlier`: training runs of this workspace, the newest first."""
    work, numbers = _cost(config, chosen, channels)
    speeds = (measured_speed(view, type(config), channels) for view in earlier)
    speed = next((s for s in speeds if s), None) or _guess(config)
    return Estimate(None if speed is None else work / speed, 4 * numbers)


def _cost(config: Trained, chosen: TrainingSet, channels: int) -> tuple[float, int]:
    """(floating-point operations, numbers that it leaves on disk) of a whole training."""
    if isinstance(config, BaganConfig):
        return _bagan_cost(config, chosen, channels)
    if isinstance(config, DdpmConfig):
        trained = config.classes or tuple(chosen.minority)
        models = [chosen.counts.get(label, 0) for label in trained]
        return _diffusion_cost(config, models, PREVIEWS, VALIDATION_IMAGES, channels)
    classes = len(chosen.classes)
    previews = PREVIEWS * classes * (1 if config.guidance == 1 else 2)
    return _diffusion_cost(
        config, [len(chosen.train)], previews, VALIDATION_IMAGES * classes, channels
    )


def _bagan_cost(config: BaganConfig, chosen: TrainingSet, channels: int) -> tuple[float, int]:
    parts = bagan_parameters(config.size, channels, len(chosen.classes))
    made, all_of_it = parts["decoder"] + parts["embedding"], sum(parts.values())
    # a checkpoint: the weights, Adam's two moments of three optimizers, the average
    checkpoint = all_of_it + 2 * (all_of_it + made) + (made if config.ema else 0)
    per_epoch = -(-len(chosen.train) // config.batch_size)
    first = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
    second = config.steps or config.epochs * per_epoch
    autoencoder, adversarial = step_work(config, channels)
    return first * autoencoder + second * adversarial, all_of_it + KEPT * checkpoint


def _diffusion_cost(
    config: DiffusionConfig, models: list[int], previews: int, held_out: int, channels: int
) -> tuple[float, int]:
    """`models`: the images of each model; `previews` and `held_out`: images that pass through it at
    every step of a preview's sampler, and at every level of a validation."""
    unet, batch = unet_count(config, channels), config.batch_size * config.accumulation
    look = 2.0 * unet.products * (previews * PREVIEW_STEPS + held_out * VALIDATION_LEVELS)
    lengths = [config.steps or config.epochs * max(1, -(-images // batch)) for images in models]
    step = diffusion_work(config, channels)
    work = sum(steps * step + min(steps, LOOKS) * look for steps in lengths)
    # a checkpoint: the weights, Adam's two moments, the average, the models finished before
    kept = 2 + len(models) + (1 if config.ema else 0)
    return work, unet.parameters * (len(models) + (KEPT + 1) * kept)  # the best may be older


def measured_speed(view: RunView, kind: type[Trained], channels: int) -> float | None:
    """Operations a second of a finished training of that kind, from the times it logged."""
    if view.kind != "train" or view.status != "done" or view.config.get("folder"):
        return None
    if CONFIGS.get(view.config.get("generator", "")) is not kind:
        return None
    timed = (m for m in read_metrics(view.path) if "time" in m)
    lines = [m for m in timed if any(map(_OF_A_STEP.match, m))]
    paces = [
        (b["time"] - a["time"]) / (b["step"] - a["step"])
        for a, b in pairwise(lines)
        if b["step"] > a["step"]
    ]
    pace = float(np.median(paces)) if len(paces) >= 3 else 0.0
    if pace <= 0:
        return None
    try:
        config = kind.build(**view.config.get("training", {}))
    except UserError:  # of another version, or damaged
        return None
    work = (
        step_work(config, channels)[1]
        if isinstance(config, BaganConfig)
        else diffusion_work(config, channels)
    )
    return work / pace


def _guess(config: Trained) -> float | None:
    """Operations a second; None with a GPU, of which a product on the CPU says nothing."""
    if shutil.which("nvidia-smi"):
        return None
    return OF_A_MATRIX_PRODUCT[type(config)] * _product_speed()


@cache
def _product_speed() -> float:
    side, taken = 1024, []
    matrix = np.ones((side, side), np.float32)
    for _ in range(20):  # the first starts threads; the fastest was disturbed least
        began = time.perf_counter()
        matrix @ matrix
        taken.append(time.perf_counter() - began)
    return 2 * side**3 / min(taken)
