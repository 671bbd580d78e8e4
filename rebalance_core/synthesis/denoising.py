"""The job that shows how images come out of noise, step by step."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from rebalance_core.config import Config, RunRef, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Denoises
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import load_generator
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import RunView
from rebalance_core.synthesis.morphing import write_frames
from rebalance_core.synthesis.sampling import (
    Options,
    check_classes,
    check_options,
    collect_options,
    finished_training,
)
from rebalance_core.workspace import Workspace


class DenoiseConfig(Config):
    run: RunRef  # a training
    label: str  # class
    first: int = Field(default=0, ge=0, le=1_000_000)  # of the images, by the seed
    count: int = Field(default=8, ge=1, le=64)  # images, side by side
    frames: int = Field(default=21, ge=2, le=201)  # from noise to the images, at most
    options: Options = Field(default_factory=dict)  # those left out: the generator's own
    seed: Seed = 0

    _earlier = model_validator(mode="before")(collect_options)


def check_denoise(workspace: Workspace, config: DenoiseConfig) -> RunView:
    """The training run; raises UserError before any work for what cannot be done."""
    source = finished_training(workspace, config.run)
    kind = source.config.get("generator", "")
    able = [spec.name for spec in generator_specs().values() if spec.denoises]
    if kind not in able:
        raise UserError(
            f"Run {source.id} is a {kind}; only {', '.join(able)} sample from noise step by step."
        )
    check_classes(source, (config.label,))
    check_options(kind, config.options)
    return source


def denoise_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Leaves `result/frames/000.png` …: a row of images each, from noise to what is sampled."""
    config = DenoiseConfig.build(**run.config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(check_denoise(workspace, config))
    assert isinstance(generator, Denoises)
    frames = generator.denoising_frames(
        config.label,
        config.count,
        config.seed,
        frames=config.frames,
        first=config.first,
        **config.options,
    )
    made = write_frames(
        run, frames, config.frames, lambda number: f"{config.label}, picture {number}"
    )
    return {"frames": made}
