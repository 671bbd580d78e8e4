"""`datasets …`: import, show, export and remove datasets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rebalance_core.cli.common import Json, Seed, Yes, confirm, emit, emit_listing, start
from rebalance_core.datasets.dataset import Dataset, export_dataset, list_datasets, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.datasets.source import BUILT_IN, KAGGLE, ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.removal import dataset_dependents, remove_dataset_only
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Import, list, show, export and remove datasets.")

Source = Annotated[
    str,
    typer.Argument(
        help="phantom, digits, a path of a zip, folder or CSV, kaggle, or kaggle:owner/dataset."
    ),
]


def show_dataset(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> dict[str, Any]:
    """Counts and findings of a dataset, as `datasets show` prints them."""
    from rebalance_core.datasets.health import (
        brightness_statistics,
        duplicate_statistics,
        format_statistics,
    )

    counts = dataset.counts()
    train = counts.get("train", {})
    return {
        "dataset": dataset.name,
        "classes": dataset.classes,
        "channels": dataset.channels,
        "fingerprint": dataset.fingerprint,
        "counts": counts,
        "imbalance_ratio": round(max(train.values()) / max(1, min(train.values())), 3),
        "unreadable": [file.model_dump() for file in dataset.manifest.unreadable],
        "duplicates": duplicate_statistics(dataset, difference),
        "brightness": brightness_statistics(dataset).round(3).to_dict("index"),
        "forms": format_statistics(dataset).round(3).to_dict("index"),
        "path": str(dataset.path),
    }


@app.command("add")
def add(
    name: str,
    source: Source,
    count: Annotated[int, typer.Option(help="Number of phantom images.")] = 1000,
    size: Annotated[int, typer.Option(help="Side of phantom images in pixels.")] = 128,
    seed: Seed = 0,
    max_files: Annotated[int, typer.Option(help="Refuse a zip with more files.")] = 500_000,
    max_gib: Annotated[float, typer.Option(help="Refuse a zip of more GiB unpacked.")] = 64.0,
    max_ratio: Annotated[
        float, typer.Option(help="Refuse a zip with a higher compression ratio.")
    ] = 200.0,
    symmetries: Annotated[
        str,
        typer.Option(
            help="Under which an image is the same picture: all, mirror or none; auto: none for "
            "digits and letters, else all."
        ),
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Import a dataset as NAME and check it for problems."""
    workspace = Workspace.from_environment()
    named = source in BUILT_IN or source.partition(":")[0] == KAGGLE
    config = ImportConfig.build(
        name=name,
        source=source if named else str(Path(source).expanduser().resolve()),
        count=count,
        size=size,
        seed=seed,
        max_files=max_files,
        max_gib=max_gib,
        max_ratio=max_ratio,
        symmetries=symmetries,
    )

    def result(_: object) -> dict[str, Any]:
        return show_dataset(open_dataset(workspace, name))

    start(config, False, as_json, result)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List all datasets with their counts, or what is wrong with them."""
    workspace = Workspace.from_environment()
    rows: dict[str, Any] = {}
    for name in list_datasets(workspace):
        try:
            rows[name] = open_dataset(workspace, name).counts()
        except UserError as error:
            rows[name] = str(error)
    emit_listing("datasets", rows, as_json)


@app.command("show")
def show(
    name: str,
    difference: Annotated[
        float,
        typer.Option(min=0, max=MAX_DIFFERENCE, help="Maximum difference of near-duplicates."),
    ] = DEFAULT_DIFFERENCE,
    as_json: Json = False,
) -> None:
    """Show classes, counts, unreadable files, duplicates, brightness and stored forms."""
    emit(show_dataset(open_dataset(Workspace.from_environment(), name), difference), as_json)


@app.command("export")
def export(name: str, folder: Path, as_json: Json = False) -> None:
    """Copy the originals, as they were imported, into a new FOLDER."""
    dataset = open_dataset(Workspace.from_environment(), name)
    export_dataset(dataset, folder.resolve())
    emit({"dataset": name, "folder": str(folder.resolve())}, as_json)


@app.command("remove")
def remove(name: str, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a dataset; what depends on it stays but cannot be continued."""
    workspace = Workspace.from_environment()
    if name not in list_datasets(workspace):
        open_dataset(workspace, name)  # raises UserError with the names that exist
    if not yes:
        left = dataset_dependents(workspace, name).summary
        warning = f" What depends on it stays but cannot be continued: {left}." if left else ""
        confirm(f"Remove dataset {name} with all its images?{warning}")
    emit({"removed": name, "left": remove_dataset_only(workspace, name).summary}, as_json)
