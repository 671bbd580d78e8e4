"""`study`: every step, from the training set to the report, as one run."""

from typing import Annotated

import typer

from rebalance_core.cli.common import Detach, Json, Preset, Split, start

app = typer.Typer()

Skew = Annotated[
    str,
    typer.Option(
        help="As for `sets make`, or auto: step:10 unless the dataset is skewed already; of a "
        "built-in one step:20."
    ),
]
Seeds = Annotated[
    str | None, typer.Option(help="Comma-separated; three by default, five at preset strong.")
]
Fixed = Annotated[
    bool | None,
    typer.Option(
        "--fixed/--redraw",
        help="One skew and one generator for all seeds (default at quick and paper), or each seed "
        "redraws the skew and trains its own.",
    ),
]
Arms = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated; by default the rivals without a generator, the controls and "
        "conditional-ddpm, at preset paper none,bagan-gp,ddpm."
    ),
]


@app.command("study")
def study(
    dataset: str,
    preset: Preset = "quick",
    split: Split = "official",
    skew: Skew = "auto",
    size: Annotated[
        int | None, typer.Option(help="Pixels of generators and classifier; the preset's if unset.")
    ] = None,
    seeds: Seeds = None,
    fixed: Fixed = None,
    arms: Arms = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Run every step: training set, poses, generators, samples, comparison, report."""
    from rebalance_core.study import StudyConfig

    given = {
        "size": size,
        "seeds": seeds and tuple(seeds.split(",")),
        "fixed": fixed,
        "arms": arms and tuple(arms.split(",")),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config = StudyConfig.from_preset(preset, dataset=dataset, split=split, skew=skew, **changes)
    start(config, detach, as_json)
