"""`datasets …`: import, show, export and remove datasets."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from rebalance_core.cli.common import Json, Seed, Yes, confirm, emit, emit_listing, start
from rebalance_core.datasets.dataset import Dataset, export_dataset, list_datasets, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.datasets.gray_levels import describe_levels
from rebalance_core.datasets.left_out import left_out_record
from rebalance_core.datasets.source import BUILT_IN, KAGGLE, Column, ImportConfig
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
        finding_statistics,
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
        **left_out_record(dataset.manifest.left_out),
        "gray_levels": describe_levels(dataset.manifest.gray_levels, len(dataset.catalogue)),
        "notes": dataset.manifest.notes,
        "findings": finding_statistics(dataset, difference),
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
    gray_range: Annotated[
        str,
        typer.Option(
            "--range",
            metavar="LOW,HIGH",
            help="Gray values shown as black and white, of images that are not 8 bits; auto: one "
            "range for the dataset, or for each series or volume.",
        ),
    ] = "auto",
    plane: Annotated[
        str, typer.Option(help="Slices of NIfTI volumes: axial, coronal or sagittal.")
    ] = "axial",
    slice_step: Annotated[int, typer.Option(help="Take every n-th slice of a volume.")] = 5,
    encoding: Annotated[
        str, typer.Option(help="Code page of the names in a zip, and of a CSV, such as gbk.")
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(help="Heading in a CSV: path, label, split or group=HEADING (repeat)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be imported; write nothing.")
    ] = False,
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
        gray_range=gray_range,
        plane=plane,
        slice_step=slice_step,
        encoding=encoding,
        columns=_parse_columns(column or []),
    )
    if dry_run:
        emit(_dry_run(workspace, config), as_json)
        return

    def result(_: object) -> dict[str, Any]:
        return show_dataset(open_dataset(workspace, name))

    start(config, False, as_json, result)


def _parse_columns(pairs: list[str]) -> dict[str, str]:
    """Parse `["label=dx", …]`."""
    columns = {}
    for pair in pairs:
        column, _, heading = pair.partition("=")
        if column not in get_args(Column) or not heading:
            raise UserError(f"--column takes path, label, split or group=HEADING, not {pair!r}.")
        columns[column] = heading
    return columns


def _dry_run(workspace: Workspace, config: ImportConfig) -> dict[str, Any]:
    from rebalance_core.datasets.importing import check_name_available
    from rebalance_core.datasets.preview import preview_source

    check_name_available(workspace, config.name)
    preview = preview_source(config)
    return {"dry_run": True, "dataset": config.name, **preview.record()}


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
