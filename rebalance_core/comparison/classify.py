"""Classify images with the classifier that a comparison kept."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rebalance_core.classifiers.loading import load_classifier
from rebalance_core.comparison.job import best_classifier
from rebalance_core.comparison.records import KeptClassifier, read_kept_classifier
from rebalance_core.config import Config, RunRef
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.importing import remove_upload
from rebalance_core.datasets.inspecting import open_alone
from rebalance_core.errors import UserError, first_line
from rebalance_core.imaging.grid import fit_square
from rebalance_core.runs.directory import RunDirectory, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.system.files import atomic_folder
from rebalance_core.workspace import Workspace


class ClassifyConfig(Config):
    run: RunRef  # a comparison
    images: tuple[str, ...] = Field(min_length=1)  # paths


def find_kept_classifier(workspace: Workspace, run_id: str) -> tuple[RunView, Path, KeptClassifier]:
    """The comparison, the folder of its kept classifier and that classifier's record.

    Raises UserError if the run did not keep one.
    """
    view = view_run(find_run(workspace, run_id))
    folder = best_classifier(view.path) if view.kind == "compare" else None
    if folder is None:
        raise UserError(
            f"Run {view.id} is not a comparison that kept a classifier; choose one that did."
        )
    return view, folder, read_kept_classifier(folder)


def check_classify(workspace: Workspace, config: ClassifyConfig) -> None:
    """Raise UserError if the run has no kept classifier or an image is missing."""
    find_kept_classifier(workspace, config.run)
    for image in map(Path, config.images):
        if not image.is_file():
            raise UserError(f"{image} is not a file; choose an image.")


def export_classifier(workspace: Workspace, run_id: str, target: Path) -> dict[str, Any]:
    """Copy the classifier (config.json, model.safetensors, cell.json) into a new folder."""
    _, folder, record = find_kept_classifier(workspace, run_id)
    with atomic_folder(target.resolve()) as temporary:
        for file in folder.iterdir():
            shutil.copyfile(file, temporary / file.name)
    return {"folder": str(target.resolve()), **record.model_dump(mode="json")}


def remove_uploaded_images(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
    """Remove the uploads of a run; until it finishes or is removed, a resume needs them."""
    for path in config.get("images", ()):
        remove_upload(workspace, str(path))


def classify_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ClassifyConfig.build(**run.config)
    predictions = classify(workspace, config)
    remove_uploaded_images(workspace, run.id, run.config)
    return {"predictions": predictions}


def _dataset_of(workspace: Workspace, record: KeptClassifier) -> Dataset | None:
    """The dataset that the classifier was trained on; None if it is no longer there."""
    try:
        return open_dataset(workspace, record.dataset or record.set)
    except UserError:
        return None


def classify(workspace: Workspace, config: ClassifyConfig) -> list[dict[str, Any]]:
    """Predict the class and class probabilities of each image.

    Images are preprocessed like the training images of the classifier.
    """
    from rebalance_core.classifiers.training import predict
    from rebalance_core.training.device import create_accelerator

    _, folder, record = find_kept_classifier(workspace, config.run)
    accelerator = create_accelerator("fp32")
    model = load_classifier(folder).to(accelerator.device)
    dataset = _dataset_of(workspace, record)
    predictions = []
    for path in map(Path, config.images):
        try:
            image = dataset.open_other(path) if dataset else open_alone(path)
        except (ValueError, OSError) as error:
            raise UserError(
                f"{path.name} cannot be read as an image ({first_line(error)})."
            ) from error
        square = fit_square(image, record.size, record.channels, record.fit)
        probabilities = predict(model, square[None], accelerator)[0]
        predictions.append(
            {
                "image": path.name,
                "class": model.classes[int(np.argmax(probabilities))],
                "probabilities": {
                    c: round(float(p), 6) for c, p in zip(model.classes, probabilities, strict=True)
                },
            }
        )
    return predictions
