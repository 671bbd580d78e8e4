"""`sets …`: create and show training sets."""

from typing import Annotated, Any

import typer

from rebalance_core.cli.common import Json, Seed, Split, emit, emit_listing
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE
from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import NO_SKEW, SetConfig
from rebalance_core.training_sets.evaluations import describe_parts
from rebalance_core.training_sets.load import set_notes
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    make_set,
    make_subset,
    open_set,
    open_sets,
)
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Create, list and show training sets.")


@app.command("make")
def make(
    name: str,
    dataset: Annotated[str | None, typer.Argument(help="Or --from SET.")] = None,
    parent: Annotated[
        str | None, typer.Option("--from", help="Take the images of this set that have the poses.")
    ] = None,
    split: Split = "official",
    difference: Annotated[
        float, typer.Option(help="Maximum difference of near-duplicates, for clean.")
    ] = DEFAULT_DIFFERENCE,
    distinct: Annotated[
        bool, typer.Option(help="In training, one image of each group of copies.")
    ] = False,
    skew: Annotated[
        str,
        typer.Option(help="step:20, step:20@class (it stays whole), long:50 or class=n,class=n."),
    ] = NO_SKEW,
    validation_skew: Annotated[
        str, typer.Option(help="Validation images: skewed like training, or whole.")
    ] = "skewed",
    poses: Annotated[list[str] | None, typer.Option(help="Keep only this pose (repeat).")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of training images.")] = None,
    validation: Annotated[
        float, typer.Option(help="Fraction of training images, if the dataset has no such split.")
    ] = 0.15,
    fit: Annotated[str, typer.Option(help="Resize mode: pad, stretch or crop.")] = "pad",
    seed: Seed = 0,
    test_seed: Annotated[
        int, typer.Option(help="Seed of the test images, if the dataset has no such split.")
    ] = 0,
    reserve: Annotated[
        int, typer.Option(help="Parts of the test images that only `compare --test-part` opens.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Create training set NAME from DATASET, or from another set."""
    workspace = Workspace.from_environment()
    if (dataset is None) == (parent is None):
        raise UserError("Name a dataset, or a training set with --from.")
    if parent is not None:
        _emit_made(
            workspace,
            make_subset(workspace, name, open_set(workspace, parent), poses or ()),
            as_json,
        )
        return
    config = SetConfig.build(
        dataset=dataset,
        split=split,
        difference=difference,
        distinct=distinct,
        skew=skew,
        validation_skew=validation_skew,
        poses=tuple(poses or ()),
        limit=limit,
        validation=validation,
        fit=fit,
        seed=seed,
        test_seed=test_seed,
        reserve=reserve,
    )
    _emit_made(workspace, make_set(workspace, name, config), as_json)


def _emit_made(workspace: Workspace, made: TrainingSet, as_json: bool) -> None:
    notes = set_notes(open_dataset(workspace, made.config.dataset), made)
    parts = {part: len(getattr(made, part)) for part in ("train", "validation", "test")}
    parts |= {f"test, part {name}": len(images) for name, images in made.reserved.items()}
    about = {"set": made.name, "split": made.config.split, "counts": made.counts}
    emit({**about, "ratio": made.ratio, **parts, "dropped": made.dropped, "notes": notes}, as_json)


@app.command("redraw")
def redraw(
    name: str,
    seed: Annotated[int, typer.Option(help="Seed of the new set, NAME-seed<n>.")] = 1,
    new_test: Annotated[
        bool, typer.Option(help="Draw the test images again too (NAME-split<n>).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Save the training set that differs from NAME only in its seed, for `compare --redraw`."""
    from rebalance_core.comparison.cells import save_set_of_seed

    workspace = Workspace.from_environment()
    made = save_set_of_seed(workspace, name, seed, new_test=new_test)
    notes = set_notes(open_dataset(workspace, made.config.dataset), made)
    emit({"set": made.name, "counts": made.counts, "notes": notes}, as_json)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List all saved training sets with their counts, or what is wrong with them."""
    readable, damaged = open_sets(Workspace.from_environment())
    rows: dict[str, Any] = {each.name: each.counts for each in readable} | damaged
    emit_listing("sets", {name: rows[name] for name in sorted(rows)}, as_json)


@app.command("show")
def show(name: str, as_json: Json = False) -> None:
    """Show a training set with the ids of its images, and who evaluated on its test parts."""
    workspace = Workspace.from_environment()
    shown = open_set(workspace, name)
    emit(shown.to_json() | {"evaluations": describe_parts(workspace, shown)}, as_json)
