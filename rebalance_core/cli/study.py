"""`study`: every step, from the training set to the report, as one run."""

from typing import Annotated

import typer

from rebalance_core.cli.common import Detach, Json, Preset, Split, start
from rebalance_core.comparison.config import DEFAULT_ARMS

app = typer.Typer()

Skew = Annotated[
    str,
    typer.Option(help="As for `sets make`, or auto: step:10 unless the dataset is skewed already."),
]
Seeds = Annotated[
    str, typer.Option(help="Comma-separated; each redraws the skew and trains its own generators.")
]
Fixed = Annotated[
    bool, typer.Option("--fixed", help="Use one skew and the same generators for all seeds.")
]


@app.command("study")
def study(
    dataset: str,
    preset: Preset = "quick",
    split: Split = "official",
    skew: Skew = "auto",
    seeds: Seeds = "0",
    fixed: Fixed = False,
    arms: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(DEFAULT_ARMS),
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Run every step: training set, poses, generators, samples, comparison, report."""
    from rebalance_core.study import StudyConfig

    config = StudyConfig.build(
        dataset=dataset,
        preset=preset,
        split=split,
        skew=skew,
        seeds=tuple(seeds.split(",")),
        fixed=fixed,
        arms=tuple(arms.split(",")),
    )
    start(config, detach, as_json)
