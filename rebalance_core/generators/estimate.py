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

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import GeneratorSpec, generator_spec
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.spec import load_named
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

_OF_A_STEP = re.compile(r"discriminator_loss$|loss( |$)")  # the names a step's loss is logged under


@dataclass(frozen=True)
class Estimate:
    """`seconds` is None where nothing is known of the machine's speed (a GPU's first training)."""

    seconds: float | None
    disk: int  # bytes: the generator, and the checkpoints


def estimate_here(
    workspace: Workspace, name: str, config: Config, chosen: TrainingSet
) -> Estimate | None:
    """By the trainings of this workspace; None for a generator whose spec does not say its cost."""
    channels = open_dataset(workspace, chosen.config.dataset).channels
    return estimate(generator_spec(name), config, chosen, channels, list_runs(workspace, "train"))


def estimate(
    spec: GeneratorSpec, config: Config, chosen: TrainingSet, channels: int, earlier: list[RunView]
) -> Estimate | None:
    """`earlier`: training runs of this workspace, the newest first."""
    cost = spec.training_cost(config, chosen, channels)
    if cost is None:
        return None
    speeds = (measured_speed(view, spec, channels) for view in earlier)
    speed = next((s for s in speeds if s), None) or _guess(spec)
    return Estimate(None if speed is None else cost.flops / speed, 4 * cost.stored_floats)


def measured_speed(view: RunView, spec: GeneratorSpec, channels: int) -> float | None:
    """Operations per second of a finished training of that generator, from the times it logged."""
    if view.kind != "train" or view.status != "done" or view.config.get("folder"):
        return None
    if view.config.get("generator") != spec.name or spec.step_flops is None:
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
        config = spec.config.build(**view.config.get("training", {}))
    except UserError:  # of another version, or damaged
        return None
    operations: float = load_named(spec.step_flops)(config, channels)
    return operations / pace


def _guess(spec: GeneratorSpec) -> float | None:
    """Operations per second; None with a GPU, of which a product on the CPU says nothing."""
    if shutil.which("nvidia-smi"):
        return None
    return spec.relative_speed * _product_speed()


@cache
def _product_speed() -> float:
    side, taken = 1024, []
    matrix = np.ones((side, side), np.float32)
    for _ in range(20):  # the first starts threads; the fastest was disturbed least
        began = time.perf_counter()
        matrix @ matrix
        taken.append(time.perf_counter() - began)
    return 2 * side**3 / min(taken)
