"""How long a comparison will take, from a few timed steps of its classifier on this machine."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from rebalance_core.comparison.cells import Cell
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.run import Run
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

WARM, TIMED = 2, 5  # steps
DECIDES = ("size", "batch_size", "augmentation", "network", "precision")  # what a step costs
START = 6.0  # seconds until a worker has imported torch


class TimingConfig(Config):
    """Time a few steps of a comparison's classifier."""

    channels: int
    classes: int
    classifier: dict[str, Any]  # what decides the cost of a step


def timing_of(workspace: Workspace, config: CompareConfig) -> TimingConfig:
    """What has to be timed for a comparison."""
    chosen = open_set(workspace, config.set)
    dumped = config.classifier.model_dump(mode="json")
    return TimingConfig(
        channels=open_dataset(workspace, chosen.config.dataset).channels,
        classes=len(chosen.classes),
        classifier={name: dumped[name] for name in DECIDES},
    )


def timing_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Seconds an image takes in training and in evaluation, the fastest of a few steps."""
    config = TimingConfig.build(**run.config)
    return time_steps(config, run)


def time_steps(config: TimingConfig, run: Run) -> dict[str, float]:
    import torch
    import torch.nn.functional as F

    from rebalance_core.classifiers.config import ClassifierConfig
    from rebalance_core.classifiers.recipe import Recipe
    from rebalance_core.classifiers.training import (
        EVALUATION_BATCH,
        augmentation,
        fresh_classifier,
        open_optimizer,
        predict,
        train_epoch,
    )
    from rebalance_core.training.device import create_accelerator

    classifier = ClassifierConfig.build(**config.classifier)
    accelerator = create_accelerator(classifier.precision)
    names = tuple(map(str, range(config.classes)))
    model = fresh_classifier(classifier, names, 0).to(accelerator.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = open_optimizer(classifier, model)
    batch = classifier.batch_size
    shape = (max(batch, EVALUATION_BATCH), classifier.size, classifier.size, config.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = torch.as_tensor(np.arange(shape[0]) % config.classes)
    shown, labels = (torch.as_tensor(a).to(accelerator.device) for a in (images, labels))
    seconds: dict[str, list[float]] = {"train": [], "evaluate": []}
    for step in range(WARM + TIMED):
        began = time.perf_counter()
        train_epoch(  # reads the loss, so it waits for the device
            classifier,
            accelerator,
            model,
            optimizer,
            shown,
            labels,
            np.arange(batch),
            F.cross_entropy,
            augmentation(classifier, Recipe(), 0, step),
        )
        seconds["train"].append((time.perf_counter() - began) / batch)
        run.progress((step + 1) / (WARM + TIMED + 2), "timing steps")
    for _ in range(2):
        began = time.perf_counter()
        predict(model, images[:EVALUATION_BATCH], accelerator)
        seconds["evaluate"].append((time.perf_counter() - began) / EVALUATION_BATCH)
    return {name: min(values) for name, values in seconds.items()}


def shown_images(cell: Cell, counts: Mapping[str, int], epochs: int) -> int:
    """Training images that a cell is shown over all its epochs."""
    total = 0
    for shows in cell.schedule.epochs(epochs):
        added = cell.plan if shows != "real" else {}
        real = {c: 0 if shows == "synthetic" and added.get(c) else n for c, n in counts.items()}
        each = [n + added.get(c, 0) for c, n in real.items()]
        present = [n for n in each if n]
        if cell.arm.recipe.sampler == "over":
            each = [max(present)] * len(present)
        elif cell.arm.recipe.sampler == "under":
            each = [min(present)] * len(present)
        total += sum(each)
    return total


def estimate(workspace: Workspace, config: CompareConfig, cells: Iterable[Cell]) -> float | None:
    """Seconds that these cells take here; None where nothing like it was timed yet."""
    wanted = timing_of(workspace, config).model_dump(mode="json")
    timed = (_rates(v) for v in list_runs(workspace, "timing") if v.config == wanted)
    rates = next((found for found in timed if found), None)
    if rates is None:
        return None
    chosen = open_set(workspace, config.set)
    epochs = config.classifier.epochs
    looked_at = epochs * (len(chosen.validation) + len(chosen.test))
    seconds: float = START + sum(
        rates["train"] * shown_images(cell, chosen.counts, epochs) + rates["evaluate"] * looked_at
        for cell in cells
    )
    return seconds


def _rates(view: RunView) -> dict[str, float] | None:
    """Seconds of each step that a run timed; None where it did not end well or is damaged."""
    try:
        found = TypeAdapter(dict[str, FiniteFloat]).validate_python(view.result)
    except (UserError, ValidationError):
        return None
    return found if view.status == "done" and {"train", "evaluate"} <= found.keys() else None
