"""`generators …`: train generators, sample from them, and look into them."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rebalance_core.cli.common import (
    Detach,
    EstimateOnly,
    Json,
    Override,
    Preset,
    Seed,
    SetName,
    emit,
    start,
)
from rebalance_core.config import parse_overrides
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_specs
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from rebalance_core.generators.training import TrainConfig

app = typer.Typer(no_args_is_help=True, help="Train generators and sample from them.")

Generator = Annotated[str, typer.Argument(help=f"{', '.join(generator_specs())}.")]
ContinueFrom = Annotated[
    str | None,
    typer.Option(
        "--continue",
        metavar="RUN_ID",
        help="Continue this training run from its last checkpoint, with --set epochs=…",
    ),
]
FromFolder = Annotated[
    Path | None, typer.Option("--from", help="Import the trained generator in this folder.")
]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Only this class (repeat).")]
Sampler = Annotated[
    str | None, typer.Option(help="Of diffusion models: ddpm, ddim, dpm-solver++ or unipc.")
]
Steps = Annotated[int | None, typer.Option(help="Number of sampler steps.")]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="Guidance scale of conditional diffusion models: 1 is none, more is closer to the "
        "class."
    ),
]
Truncation = Annotated[
    float | None, typer.Option(help="Truncate the latents of a GAN to ± this value.")
]
SamplerOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="An option of the generator's sampler: name=value (repeat)."),
]


@app.command("train")
def train(
    generator: Generator,
    set_name: SetName,
    preset: Preset = "quick",
    label: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only this class, of one model per class (repeat)."),
    ] = None,
    override: Override = None,
    seed: Seed = 0,
    continue_from: ContinueFrom = None,
    folder: FromFolder = None,
    estimate_only: EstimateOnly = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train a generator on a training set, continue a training, or import a trained generator."""
    from rebalance_core.generators.estimate import estimate_in_workspace, training_notes

    workspace = Workspace.from_environment()
    changes: dict[str, Any] = parse_overrides(override or [])
    is_new = continue_from is None and folder is None
    if is_new:
        config = _new_training(workspace, generator, set_name, preset, label, seed, changes)
    else:
        config = _existing(workspace, set_name, continue_from, folder, label, changes)
        _check_names(config, generator, set_name, folder)
    if estimate_only and not is_new:
        raise UserError("--estimate works only for new trainings.")
    if estimate_only:
        chosen = open_set(workspace, set_name)
        estimate = estimate_in_workspace(workspace, config.generator, config.training, chosen)
        if estimate is None:
            raise UserError(f"--estimate does not know what a {config.generator} costs.")
        emit(asdict(estimate), as_json)
        return
    if is_new:
        chosen = open_set(workspace, set_name)
        for note in training_notes(workspace, config.generator, config.training, chosen):
            print(f"Note: {note}", file=sys.stderr)
    start(config, detach, as_json)


def _new_training(
    workspace: Workspace,
    generator: str,
    set_name: str,
    preset: str,
    labels: list[str] | None,
    seed: int,
    changes: Mapping[str, Any],
) -> "TrainConfig":
    """Config of a training from its start; raises UserError for a class the set does not have."""
    from rebalance_core.generators.training import TrainConfig

    values = {"seed": seed, **changes}
    known = open_set(workspace, set_name).classes
    if unknown := [label for label in labels or () if label not in known]:
        raise UserError(
            f"There is no class {unknown[0]!r} in {set_name}; it has {', '.join(known)}."
        )
    if labels:
        values["classes"] = tuple(labels)
    return TrainConfig.make(generator, set_name, preset, **values)


def _existing(
    workspace: Workspace,
    set_name: str,
    continue_from: str | None,
    folder: Path | None,
    labels: list[str] | None,
    changes: Mapping[str, Any],
) -> "TrainConfig":
    """Config that continues a run, or imports a generator from a folder."""
    from rebalance_core.generators.training import continuation, from_folder

    if continue_from is not None and folder is not None:
        raise UserError("--continue and --from exclude each other: choose one.")
    if labels or (folder is not None and changes):
        raise UserError("--class and --set don't change what was trained; leave them out.")
    if continue_from is not None:
        return continuation(workspace, continue_from, **changes)
    return from_folder(workspace, str(folder), set_name)


def _check_names(config: "TrainConfig", generator: str, set_name: str, folder: Path | None) -> None:
    """Raises UserError unless the arguments name what was trained, and on what."""
    if (config.generator, config.set) != (generator, set_name):
        origin = "That run trained" if folder is None else "That folder contains"
        raise UserError(f"{origin} {config.generator} on {config.set}; pass those names.")


@app.command("sample")
def sample(
    run_id: str,
    name: str,
    label: Classes = None,
    count: Annotated[int, typer.Option(help="Images per class.")] = 1000,
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    truncation: Truncation = None,
    option: SamplerOption = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Sample synthetic set NAME from a trained generator."""
    from rebalance_core.synthesis.sampling import SampleConfig

    config = SampleConfig.build(
        run=run_id,
        name=name,
        count=count,
        classes=tuple(label or ()),
        seed=seed,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        truncation=truncation,
        options=parse_overrides(option or [], "--option"),
    )
    start(config, detach, as_json)


@app.command("interpolate")
def interpolate(
    run_id: str,
    start_class: Annotated[str, typer.Argument(metavar="START", help="The first class.")],
    end_class: Annotated[str, typer.Argument(metavar="END", help="The last class.")],
    count: Annotated[int, typer.Option(help="Number of latents, side by side.")] = 8,
    frames: Annotated[int, typer.Option(help="Number of interpolation steps.")] = 21,
    truncation: Truncation = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Interpolate between two classes of a trained generator, from the same latents."""
    from rebalance_core.synthesis.interpolation import InterpolateConfig

    config = InterpolateConfig.build(
        run=run_id,
        start=start_class,
        end=end_class,
        count=count,
        frames=frames,
        truncation=truncation,
        seed=seed,
    )
    start(config, detach, as_json)


@app.command("denoise")
def denoise(
    run_id: str,
    label: Annotated[str, typer.Argument(metavar="CLASS", help="The class to generate.")],
    count: Annotated[int, typer.Option(help="Number of images, side by side.")] = 8,
    first: Annotated[int, typer.Option(help="Number of the seed's first image to show.")] = 0,
    frames: Annotated[int, typer.Option(help="Maximum number of denoising steps shown.")] = 21,
    sampler: Sampler = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Show the denoising steps of a diffusion model; the pictures are in result/frames."""
    from rebalance_core.synthesis.denoising import DenoiseConfig

    config = DenoiseConfig.build(
        run=run_id,
        label=label,
        count=count,
        first=first,
        frames=frames,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        seed=seed,
    )
    start(config, detach, as_json)
