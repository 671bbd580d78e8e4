"""`classifiers …`: apply and export the classifier that a comparison kept."""

from pathlib import Path
from typing import Annotated

import typer

from rebalance_core.cli.common import Detach, Json, emit, start
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Apply and save the best classifier of a comparison.")

RunId = Annotated[str, typer.Argument(help="Run id of the comparison.")]


@app.command("classify")
def classify(
    run_id: RunId,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Classify images with the classifier that a comparison kept (the best on validation)."""
    from rebalance_core.comparison.classify import ClassifyConfig

    paths = tuple(str(image.resolve()) for image in images)
    start(ClassifyConfig(run=run_id, images=paths), detach, as_json)


@app.command("save")
def save(run_id: RunId, folder: Path, as_json: Json = False) -> None:
    """Copy the classifier that a comparison kept into a new FOLDER (safetensors and config)."""
    from rebalance_core.comparison.classify import export_classifier

    emit(export_classifier(Workspace.from_environment(), run_id, folder), as_json)
