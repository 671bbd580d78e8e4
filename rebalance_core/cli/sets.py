"""`sets …`: create and show training sets."""

from typing import Annotated, Any

import typer

from rebalance_core.cli.common import Json, Seed, Split, emit, emit_listing
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE
from rebalance_core.training_sets.config import NO_SKEW, SetConfig
from rebalance_core.training_sets.load import missing_class_notes
from rebalance_core.training_sets.resolve import make_set, open_set, open_sets
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Create, list and show training sets.")


@app.command("make")
def make(
    name: str,
    dataset: str,
    split: Split = "official",
    difference: Annotated[
        float, typer.Option(help="Maximum difference of near-duplicates, for clean.")
    ] = DEFAULT_DIFFERENCE,
    skew: Annotated[str, typer.Option(help="step:20, long:50 or class=n,class=n.")] = NO_SKEW,
    poses: Annotated[list[str] | None, typer.Option(help="Keep only this pose (repeat).")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of training images.")] = None,
    validation: Annotated[
        float, typer.Option(help="Fraction of training images, if the dataset has no such split.")
    ] = 0.15,
    fit: Annotated[str, typer.Option(help="Resize mode: pad, stretch or crop.")] = "pad",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Create training set NAME from DATASET."""
    workspace = Workspace.from_environment()
    config = SetConfig.build(
        dataset=dataset,
        split=split,
        difference=difference,
        skew=skew,
        poses=tuple(poses or ()),
        limit=limit,
        validation=validation,
        fit=fit,
        seed=seed,
    )
    made = make_set(workspace, name, config)
    notes = missing_class_notes(open_dataset(workspace, dataset), made)
    parts = {part: len(getattr(made, part)) for part in ("train", "validation", "test")}
    about = {"set": name, "split": split, "counts": made.counts, "ratio": made.ratio, **parts}
    emit({**about, "dropped": made.dropped, "notes": notes}, as_json)


@app.command("redraw")
def redraw(
    name: str,
    seed: Annotated[int, typer.Option(help="Seed of the new set, NAME-seed<n>.")] = 1,
    as_json: Json = False,
) -> None:
    """Save the training set that differs from NAME only in its seed, for `compare --redraw`."""
    from rebalance_core.comparison.cells import save_set_of_seed

    workspace = Workspace.from_environment()
    made = save_set_of_seed(workspace, name, seed)
    notes = missing_class_notes(open_dataset(workspace, made.config.dataset), made)
    emit({"set": made.name, "counts": made.counts, "notes": notes}, as_json)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List all saved training sets with their counts, or what is wrong with them."""
    readable, damaged = open_sets(Workspace.from_environment())
    rows: dict[str, Any] = {each.name: each.counts for each in readable} | damaged
    emit_listing("sets", {name: rows[name] for name in sorted(rows)}, as_json)


@app.command("show")
def show(name: str, as_json: Json = False) -> None:
    """Show a training set with the ids of its images."""
    emit(open_set(Workspace.from_environment(), name).to_json(), as_json)
