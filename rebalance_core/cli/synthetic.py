"""`synthetic …`: add, inspect, measure, filter, export and remove synthetic sets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rebalance_core.cli import quiz
from rebalance_core.cli.common import (
    Detach,
    Json,
    Seed,
    SyntheticName,
    Yes,
    confirm,
    emit,
    emit_listing,
    start,
)
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.synthesis.exporting import export_synthetic
from rebalance_core.synthesis.external import ExternalConfig
from rebalance_core.synthesis.synthetic_set import (
    list_synthetic,
    open_all_synthetic,
    open_synthetic,
    remove_synthetic,
    synthetic_path,
)
from rebalance_core.system.files import write_bytes
from rebalance_core.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True, help="Add, list, show, score, filter, export and remove synthetic sets."
)
app.add_typer(quiz.app, name="quiz")

GeneratorSet = Annotated[
    str, typer.Argument(metavar="SET", help="Training set the external generator was trained on.")
]
Features = Annotated[
    str,
    typer.Option(
        help="Feature extractor: scorer (trained on the same set), or resnet18, vgg16 or "
        "inception (ImageNet)."
    ),
]
ScorerEpochs = Annotated[int, typer.Option(help="Training epochs of the scorer.")]
Confidence = Annotated[
    float | None,
    typer.Option(help="Minimum probability of an image's class, predicted by the scorer."),
]
Distance = Annotated[
    float | None,
    typer.Option(
        help="Maximum distance to the nearest real image, as a quantile of the real images' "
        "distances to their nearest."
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="Remove these images: class/000000.png,class/000003.png (repeat)."),
]


@app.command("add")
def add(
    name: str, folder: str, set_name: GeneratorSet, detach: Detach = False, as_json: Json = False
) -> None:
    """Import images made elsewhere, <class>/*.png in FOLDER, as synthetic set NAME.

    That their generator was trained on training set SET alone is recorded as unverified.
    """
    workspace = Workspace.from_environment()
    config = ExternalConfig.build(name=name, folder=folder, set=set_name)

    def result(_: object) -> dict[str, Any]:
        return open_synthetic(workspace, name).summary

    start(config, detach, as_json, result)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List all synthetic sets, oldest first, or what is wrong with them."""
    workspace = Workspace.from_environment()
    readable, damaged = open_all_synthetic(workspace)
    rows: dict[str, Any] = dict(damaged)
    for each in readable:
        rows[each.name] = {k: each.summary[k] for k in ("generator", "set", "size", "counts")}
    ordered = {name: rows[name] for name in list_synthetic(workspace) if name in rows}
    emit_listing("synthetic", ordered, as_json)


@app.command("show")
def show(name: str, as_json: Json = False) -> None:
    """Show the contents and the provenance of a synthetic set."""
    emit(open_synthetic(Workspace.from_environment(), name).summary, as_json)


@app.command("grid")
def grid(
    name: str,
    file: Annotated[Path, typer.Argument(help="A new .png file.")],
    count: Annotated[int, typer.Option(min=1, max=100, help="Images per class.")] = 16,
    as_json: Json = False,
) -> None:
    """Write a picture of the first images of each class above their nearest training images."""
    from rebalance_core.synthesis.pictures import sample_grid

    workspace = Workspace.from_environment()
    opened = open_synthetic(workspace, name)
    if file.suffix.lower() != ".png" or file.exists() or not file.parent.is_dir():
        raise UserError(f"{file} must be a new .png file in an existing folder.")
    dataset = open_dataset(workspace, opened.training_set.config.dataset)
    write_bytes(file, png_bytes(sample_grid(dataset, opened, count)))
    emit({"picture": str(file), "classes": list(opened.counts)}, as_json)


@app.command("export")
def export(
    name: str,
    target: Annotated[Path, typer.Argument(help="A new folder or a new .zip file.")],
    as_json: Json = False,
) -> None:
    """Copy a synthetic set with its provenance into a folder or a zip."""
    emit({"exported": str(export_synthetic(Workspace.from_environment(), name, target))}, as_json)


@app.command("remove")
def remove(name: str, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a synthetic set; comparisons that used it stay."""
    workspace = Workspace.from_environment()
    synthetic_path(workspace, name)  # raises UserError with the names that exist
    if not yes:
        confirm(f"Remove synthetic set {name} with all its images?")
    remove_synthetic(workspace, name)
    emit({"removed": name}, as_json)


@app.command("score")
def score(
    synthetic_name: SyntheticName,
    features: Features = "scorer",
    epochs: ScorerEpochs = 20,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Measure a synthetic set against the real images its generator was trained on."""
    from rebalance_core.synthesis.scoring import ScoreConfig

    config = ScoreConfig.build(
        synthetic=synthetic_name, features=features, epochs=epochs, seed=seed
    )
    start(config, detach, as_json)


@app.command("filter")
def filter_synthetic(
    synthetic_name: SyntheticName,
    name: Annotated[str, typer.Argument(help="Name of the filtered set.")],
    confidence: Confidence = None,
    distance: Distance = None,
    copies: Annotated[
        bool, typer.Option("--copies", help="Remove near-copies of real images.")
    ] = False,
    twins: Annotated[
        bool, typer.Option("--twins", help="Remove near-copies of earlier generated images.")
    ] = False,
    without: Without = None,
    epochs: ScorerEpochs = 20,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Create synthetic set NAME from the images of SYNTHETIC that pass the given filters.

    Mirrored, flipped and turned copies are not found.
    """
    from rebalance_core.synthesis.filtering import FilterConfig, parse_image_names

    config = FilterConfig.build(
        synthetic=synthetic_name,
        name=name,
        confidence=confidence,
        distance=distance,
        copies=copies,
        twins=twins,
        without=parse_image_names(without or ()),
        epochs=epochs,
        seed=seed,
    )
    start(config, detach, as_json)
