"""`study`: every step, from the training set to the report, as one run."""

from typing import Annotated

import typer

from rebalance_core.cli.common import Detach, Json, Preset, Split, start
from rebalance_core.comparison.config import DEFAULT_ARMS, CompareConfig
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.source import BUILT_IN
from rebalance_core.training_sets.skew import skewed_counts
from rebalance_core.workspace import Workspace

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
    from rebalance_core.comparison.cells import check_arms
    from rebalance_core.study import StudyConfig

    CompareConfig.from_preset(preset, set=dataset)  # raises UserError for an unknown preset
    workspace = Workspace.from_environment()
    if dataset not in BUILT_IN or dataset in list_datasets(workspace):
        counts = open_dataset(workspace, dataset).counts()
        if skew != "auto":
            skewed_counts(skew, counts["train"])  # raises UserError for an invalid skew
    config = StudyConfig.build(
        dataset=dataset,
        preset=preset,
        split=split,
        skew=skew,
        seeds=tuple(seeds.split(",")),
        fixed=fixed,
        arms=tuple(arms.split(",")),
    )
    check_arms(workspace, config.arms)
    start("study", config, f"study of {dataset}", detach, as_json)
