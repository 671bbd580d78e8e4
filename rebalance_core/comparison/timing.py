"""Estimate the duration of a comparison from a few timed classifier steps on this machine."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.epochs import balanced_steps
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

WARMUP, TIMED = 2, 5  # steps
# Fields of the classifier config that determine the cost of a step.
COST_FIELDS = ("size", "batch_size", "augmentation", "network", "precision")
START = 6.0  # seconds a worker needs to import torch


class TimingConfig(Config):
    """Time a few steps of a comparison's classifier."""

    channels: int
    classes: int
    classifier: dict[str, Any]  # the `COST_FIELDS`


def timing_config(workspace: Workspace, config: CompareConfig) -> TimingConfig:
    """The config of the timing run for a comparison."""
    training_set = open_set(workspace, config.set)
    dumped = config.classifier.model_dump(mode="json")
    return TimingConfig(
        channels=open_dataset(workspace, training_set.config.dataset).channels,
        classes=len(training_set.classes),
        classifier={name: dumped[name] for name in COST_FIELDS},
    )


def timing_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Time a few steps of training and evaluation."""
    config = TimingConfig.build(**run.config)
    return time_steps(config, run)


def time_steps(config: TimingConfig, run: Run) -> dict[str, float]:
    """Seconds per image of `train` and `evaluate`, each from the fastest of a few steps."""
    import torch
    import torch.nn.functional as F

    from rebalance_core.classifiers.recipe import Recipe
    from rebalance_core.classifiers.training import (
        EVALUATION_BATCH,
        fresh_classifier,
        make_augmentation,
        make_sgd,
        predict,
        train_epoch,
    )
    from rebalance_core.training.device import create_accelerator

    classifier = ClassifierConfig.build(**config.classifier)
    accelerator = create_accelerator(classifier.precision)
    names = tuple(map(str, range(config.classes)))
    model = fresh_classifier(classifier, names, 0).to(accelerator.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = make_sgd(classifier, model)
    batch = classifier.batch_size
    shape = (max(batch, EVALUATION_BATCH), classifier.size, classifier.size, config.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = torch.as_tensor(np.arange(shape[0]) % config.classes)
    batch_images, labels = (torch.as_tensor(a).to(accelerator.device) for a in (images, labels))
    seconds: dict[str, list[float]] = {"train": [], "evaluate": []}
    for step in range(WARMUP + TIMED):
        start = time.perf_counter()
        train_epoch(  # reads the loss, so it waits for the device
            classifier,
            accelerator,
            model,
            optimizer,
            batch_images,
            labels,
            np.arange(batch),
            F.cross_entropy,
            make_augmentation(classifier, Recipe(), 0, step),
        )
        seconds["train"].append((time.perf_counter() - start) / batch)
        run.progress((step + 1) / (WARMUP + TIMED + 2), "timing steps")
    for _ in range(2):
        start = time.perf_counter()
        predict(model, images[:EVALUATION_BATCH], accelerator)
        seconds["evaluate"].append((time.perf_counter() - start) / EVALUATION_BATCH)
    return {name: min(values) for name, values in seconds.items()}


def count_shown_images(cell: Cell, counts: Mapping[str, int], config: ClassifierConfig) -> int:
    """Number of training images in all epochs of a cell."""
    if config.budget == "updates":
        steps = balanced_steps(list(counts.values()), config.batch_size)
        return config.epochs * steps * config.batch_size
    total = 0
    for kind in cell.schedule.epochs(config.epochs):
        added = cell.plan if kind != "real" else {}
        real = {c: 0 if kind == "synthetic" and added.get(c) else n for c, n in counts.items()}
        sizes = [n + added.get(c, 0) for c, n in real.items()]
        present = [n for n in sizes if n]
        if cell.arm.recipe.sampler == "over":
            sizes = [max(present)] * len(present)
        elif cell.arm.recipe.sampler == "under":
            sizes = [min(present)] * len(present)
        total += sum(sizes)
    return total


def estimate(workspace: Workspace, config: CompareConfig, cells: Iterable[Cell]) -> float | None:
    """Seconds for training the cells on this machine; None before its steps were timed."""
    timed_config = timing_config(workspace, config).model_dump(mode="json")
    all_rates = (_rates(v) for v in list_runs(workspace, "timing") if v.config == timed_config)
    rates = next((rates for rates in all_rates if rates), None)
    if rates is None:
        return None
    training_set = open_set(workspace, config.set)
    epochs, tests = config.classifier.epochs, config.classifier.epochs * config.test_every_epoch + 1
    evaluated = epochs * len(training_set.validation) + tests * len(training_set.test)
    seconds: float = START + sum(
        rates["train"] * count_shown_images(cell, training_set.counts, config.classifier)
        + rates["evaluate"] * evaluated
        for cell in cells
    )
    return seconds


def _rates(view: RunView) -> dict[str, float] | None:
    """Read the seconds per image that a run measured; None if it is unfinished or damaged."""
    try:
        rates = TypeAdapter(dict[str, FiniteFloat]).validate_python(view.result)
    except (UserError, ValidationError):
        return None
    return rates if view.status == "done" and {"train", "evaluate"} <= rates.keys() else None
