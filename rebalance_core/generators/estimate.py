"""The estimated time and disk space of a training, before it starts.

The time is the FLOPs of the training over the speed: that of the last training of the same
generator in this workspace or, without one, estimated from a matrix product on the CPU.
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

_STEP_LOSS = re.compile(r"discriminator_loss$|loss( |$)")  # metrics that are logged at a step


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a training."""

    seconds: float | None  # None if the speed is unknown: before the first training on a GPU
    disk: int  # bytes of the generator and its checkpoints
    notes: tuple[str, ...] = ()  # sentences on what makes this training a bad one


def estimate_in_workspace(
    workspace: Workspace, name: str, config: Config, training_set: TrainingSet
) -> Estimate | None:
    """`estimate` of generator `name`, with the training runs of this workspace."""
    channels = open_dataset(workspace, training_set.config.dataset).channels
    runs = list_runs(workspace, "train")
    return estimate(generator_spec(name), config, training_set, channels, runs)


def training_notes(
    workspace: Workspace, name: str, config: Config, training_set: TrainingSet
) -> tuple[str, ...]:
    """The notes of `estimate_in_workspace`, without measuring a speed."""
    channels = open_dataset(workspace, training_set.config.dataset).channels
    cost = generator_spec(name).training_cost(config, training_set, channels)
    return cost.notes if cost else ()


def estimate(
    spec: GeneratorSpec,
    config: Config,
    training_set: TrainingSet,
    channels: int,
    runs: list[RunView],
) -> Estimate | None:
    """The estimate from earlier training `runs`, newest first; None if the spec has no `cost`."""
    cost = spec.training_cost(config, training_set, channels)
    if cost is None:
        return None
    speeds = (measured_speed(view, spec, channels) for view in runs)
    speed = next((s for s in speeds if s), None) or _estimated_speed(spec)
    seconds = None if speed is None else cost.flops / speed
    return Estimate(seconds, 4 * cost.stored_floats, cost.notes)


def measured_speed(view: RunView, spec: GeneratorSpec, channels: int) -> float | None:
    """FLOPs per second of a finished training of this generator, by the median time between logged
    steps; None for any other run, or if it logged fewer than three intervals."""
    if view.kind != "train" or view.status != "done" or view.config.get("folder"):
        return None
    if view.config.get("generator") != spec.name or spec.step_flops is None:
        return None
    timed = (m for m in read_metrics(view.path) if "time" in m)
    lines = [m for m in timed if any(map(_STEP_LOSS.match, m))]
    step_times = [
        (b["time"] - a["time"]) / (b["step"] - a["step"])
        for a, b in pairwise(lines)
        if b["step"] > a["step"]
    ]
    step_time = float(np.median(step_times)) if len(step_times) >= 3 else 0.0
    if step_time <= 0:
        return None
    try:
        config = spec.config.build(**view.config.get("training", {}))
    except UserError:  # of another version, or damaged
        return None
    flops: float = load_named(spec.step_flops)(config, channels)
    return flops / step_time


def _estimated_speed(spec: GeneratorSpec) -> float | None:
    """Estimate the generator's speed on the CPU, in FLOPs per second.

    None on a machine with a GPU, whose speed a matrix product on the CPU does not predict.
    """
    if shutil.which("nvidia-smi"):
        return None
    return spec.relative_speed * _matmul_speed()


@cache
def _matmul_speed() -> float:
    """FLOPs per second of an fp32 matrix product on the CPU."""
    side, seconds = 1024, []
    matrix = np.ones((side, side), np.float32)
    for _ in range(20):  # the first starts threads; the fastest was disturbed least
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)
