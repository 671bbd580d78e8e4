"""The job that shows how images come out of noise, step by step."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from rebalance_core.config import Config, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.diffusion.config import Sampler
from rebalance_core.generators.training import DIFFUSION, load_generator
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.run import RunDirectory
from rebalance_core.synthesis.morphing import write_frames
from rebalance_core.synthesis.sampling import check_classes, check_options, finished_training
from rebalance_core.workspace import Workspace


class DenoiseConfig(Config):
    run: str  # id of the training run
    label: str  # class
    first: int = Field(default=0, ge=0, le=1_000_000)  # of the images, by the seed
    count: int = Field(default=8, ge=1, le=64)  # images, side by side
    frames: int = Field(default=21, ge=2, le=201)  # from noise to the images, at most
    sampler: Sampler | None = None  # None: the generator's own
    steps: int | None = Field(default=None, ge=1, le=1000)
    guidance: float | None = Field(default=None, ge=0, le=20)
    seed: Seed = 0

    @property
    def options(self) -> dict[str, Any]:
        asked = {"sampler": self.sampler, "steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in asked.items() if value is not None}


def check_denoise(workspace: Workspace, config: DenoiseConfig) -> RunView:
    """The training run; raises UserError before any work for what cannot be done."""
    source = finished_training(workspace, config.run)
    kind = source.config.get("generator", "")
    if kind not in DIFFUSION:
        raise UserError(
            f"Run {source.id} is a {kind}; only {', '.join(DIFFUSION)} take images out of noise."
        )
    check_classes(source, (config.label,))
    check_options(kind, config.options)
    return source


def denoise_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Leaves `result/frames/000.png` …: a row of images each, from noise to what is sampled."""
    from rebalance_core.generators.diffusion.sampling import DiffusionGenerator  # torch

    config = DenoiseConfig.build(**run.config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(check_denoise(workspace, config))
    assert isinstance(generator, DiffusionGenerator)
    frames = generator.denoising(
        config.label, config.count, config.seed, frames=config.frames, first=config.first,
        **config.options,
    )  # fmt: skip
    made = write_frames(
        run, frames, config.frames, lambda number: f"{config.label}, picture {number}"
    )
    return {"frames": made}
