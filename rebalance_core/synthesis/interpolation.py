"""The job that interpolates between two classes: fixed latents, the label embedding moved from one
class to the other, which shows what the embedding learned."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rebalance_core.config import Config, RunRef, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Interpolates
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import load_generator
from rebalance_core.imaging.grid import make_grid, png_bytes
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.sampling import check_classes, finished_training
from rebalance_core.system.files import write_bytes
from rebalance_core.workspace import Workspace


class InterpolateConfig(Config):
    run: RunRef  # a finished training
    start: str  # class
    end: str  # class
    count: int = Field(default=8, ge=1, le=64)  # latents per row
    frames: int = Field(default=21, ge=2, le=201)  # from `start` to `end`
    truncation: float | None = Field(default=None, gt=0, le=10)
    seed: Seed = 0


def check_interpolate(workspace: Workspace, config: InterpolateConfig) -> RunView:
    """The training run; raises UserError where the job would fail."""
    source = finished_training(workspace, config.run)
    generator = source.config.get("generator", "")
    supported = [spec.name for spec in generator_specs().values() if spec.interpolates]
    if generator not in supported:
        raise UserError(
            f"Run {source.id} trained {generator}; choose one of {', '.join(supported)}, which "
            "interpolate between classes."
        )
    if config.start == config.end:
        raise UserError(f"Choose two different classes; both are {config.start}.")
    check_classes(source, (config.start, config.end))
    return source


def interpolate_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Write `result/frames/000.png` …: one row of images each, from `start` to `end`."""
    config = InterpolateConfig.build(**run.config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(check_interpolate(workspace, config))
    assert isinstance(generator, Interpolates)
    weights = [n / (config.frames - 1) for n in range(config.frames)]
    frames = generator.interpolate(
        config.start, config.end, weights, config.count, config.seed, config.truncation
    )
    stage = f"{config.start} to {config.end}"
    return {"frames": write_frames(run, frames, config.frames, lambda number: stage)}


def write_frames(
    run: RunDirectory, rows: Iterable[np.ndarray], total: int, stage: Callable[[int], str]
) -> int:
    """Write one frame per row of images, uint8 (n, H, W, C), and return their number.

    `total`: their maximum number; `stage`: a description of the n-th for the progress bar.
    """
    number = 0
    for number, images in enumerate(rows, 1):
        frame = png_bytes(make_grid(images, len(images)))
        write_bytes(run.result / "frames" / f"{number - 1:03d}.png", frame)
        run.progress(number / total, stage(number))
        if run.should_stop():
            raise Cancelled
    return number


def list_frames(view: RunView) -> list[Path]:
    """The frames of a finished run, first to last."""
    return sorted((view.path / "result" / "frames").glob("[!.]*.png"))
