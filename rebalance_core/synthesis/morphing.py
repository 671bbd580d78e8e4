"""The job that shows what lies between two classes: the same latents, the label's embedding moved
from one class to the other. It shows what the embedding learned."""

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


class MorphConfig(Config):
    run: RunRef  # a training
    start: str  # class
    end: str  # class
    count: int = Field(default=8, ge=1, le=64)  # latents, side by side
    frames: int = Field(default=21, ge=2, le=201)  # from all start to all end
    truncation: float | None = Field(default=None, gt=0, le=10)
    seed: Seed = 0


def check_morph(workspace: Workspace, config: MorphConfig) -> RunView:
    """The training run; raises UserError before any work for what cannot be done."""
    source = finished_training(workspace, config.run)
    kind = source.config.get("generator", "")
    able = [spec.name for spec in generator_specs().values() if spec.interpolates]
    if kind not in able:
        raise UserError(
            f"Run {source.id} is a {kind}; only {', '.join(able)} can interpolate between classes."
        )
    if config.start == config.end:
        raise UserError(f"Choose two classes; between {config.start} and itself lies nothing.")
    check_classes(source, (config.start, config.end))
    return source


def morph_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Leaves `result/frames/000.png` …: a row of images each, from `start` to `end`."""
    config = MorphConfig.build(**run.config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(check_morph(workspace, config))
    assert isinstance(generator, Interpolates)
    shares = [n / (config.frames - 1) for n in range(config.frames)]
    frames = generator.interpolate(
        config.start, config.end, shares, config.count, config.seed, config.truncation
    )
    told = f"{config.start} to {config.end}"
    return {"frames": write_frames(run, frames, config.frames, lambda number: told)}


def write_frames(
    run: RunDirectory, rows: Iterable[np.ndarray], most: int, stage: Callable[[int], str]
) -> int:
    """A picture for each row of images, uint8 (n, H, W, C), of which there are `most` at most;
    how many there were. `stage` says what the n-th is."""
    number = 0
    for number, images in enumerate(rows, 1):
        picture = png_bytes(make_grid(images, len(images)))
        write_bytes(run.result / "frames" / f"{number - 1:03d}.png", picture)
        run.progress(number / most, stage(number))
        if run.should_stop():
            raise Cancelled
    return number


def frames(view: RunView) -> list[Path]:
    """The pictures of a finished run, from `start` to `end`."""
    return sorted((view.path / "result" / "frames").glob("[!.]*.png"))
