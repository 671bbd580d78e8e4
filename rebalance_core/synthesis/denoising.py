"""The job that renders the denoising process step by step."""

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
from rebalance_core.synthesis.interpolation import write_frames
from rebalance_core.synthesis.sampling import (
    Options,
    check_classes,
    check_options,
    collect_options,
    finished_training,
)
from rebalance_core.workspace import Workspace


class DenoiseConfig(Config):
    run: RunRef  # a finished training
    label: str  # class
    first: int = Field(default=0, ge=0, le=1_000_000)  # index of the first image
    count: int = Field(default=8, ge=1, le=64)  # images per row
    frames: int = Field(default=21, ge=2, le=201)  # maximum number, from noise to the images
    options: Options = Field(default_factory=dict)  # missing ones: the generator's defaults
    seed: Seed = 0

    _collect_options = model_validator(mode="before")(collect_options)


def check_denoise(workspace: Workspace, config: DenoiseConfig) -> RunView:
    """The training run; raises UserError where the job would fail."""
    source = finished_training(workspace, config.run)
    generator = source.config.get("generator", "")
    supported = [spec.name for spec in generator_specs().values() if spec.denoises]
    if generator not in supported:
        raise UserError(
            f"Run {source.id} trained {generator}; choose one of {', '.join(supported)}, which "
            "denoise step by step."
        )
    check_classes(source, (config.label,))
    check_options(generator, config.options)
    return source


def denoise_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Write `result/frames/000.png` …: one row of images each, from noise to the samples."""
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
    written = write_frames(
        run, frames, config.frames, lambda number: f"{config.label}, frame {number}"
    )
    return {"frames": written}
