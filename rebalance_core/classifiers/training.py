"""The training loop of one classifier (paper section 5.4)."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from models.classifier import Classifier, seeded_classifier
from rebalance_core.classifiers.augmentation import augment_scans
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.epochs import epoch_rows
from rebalance_core.classifiers.losses import LossFunction, loss_function
from rebalance_core.classifiers.measures import PRIMARY, measures
from rebalance_core.classifiers.metrics import measure
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.errors import UserError
from rebalance_core.runs.run import Run
from rebalance_core.training.batches import to_float
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import derive_seed, keyed_generator
from rebalance_core.training.rates import warmup_cosine
from rebalance_core.training_sets.load import Images

EVALUATION_BATCH = 256
Augment = Callable[[Tensor, int], Tensor]  # images and the number of their batch → images


class CellFailed(UserError):
    """The training of one cell failed; other cells of the comparison continue."""


@dataclass(frozen=True)
class CellData:
    """The images of one cell, uint8: real and synthetic training images, validation and test."""

    real: Images
    synthetic: Images | None
    validation: Images
    test: Images
    classes: tuple[str, ...]


def train_classifier(
    config: ClassifierConfig,
    data: CellData,
    recipe: Recipe,
    schedule: Schedule,
    seed: int,
    run: Run,
    *,
    log: Callable[[dict[str, Any]], None],
    make_model: Callable[[], Classifier] | None = None,
    state: dict[str, Any] | None = None,
    tag: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train the classifier of one cell; `make_model` replaces `fresh_classifier`.

    Returns ({curve, best, seconds}, weights): `best` has the measures of the epoch with the highest
    validation macro-F1 (the first of equals), whose weights are returned. `state` is a checkpoint
    of this function (with the fields of `tag`), from which training continues exactly. Raises
    CellFailed if the loss is NaN or infinite.
    """
    # data, in memory: real images before synthetic ones
    accelerator = create_accelerator(config.precision)
    images, labels = _concatenate(data, accelerator)
    class_ids, n_real = labels.cpu().numpy(), len(data.real.labels)
    # model, optimizer
    model = make_model() if make_model else fresh_classifier(config, data.classes, seed)
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_sgd(config, model)
    curve: list[dict[str, Any]] = []
    best: dict[str, Any] = {"validation_macro_f1": -1.0}
    weights: dict[str, Tensor] = {}
    seconds = 0.0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        curve, best, seconds = list(state["curve"]), state["best"], state["seconds"]
        weights = state["weights"]
    # epochs
    for epoch, epoch_images in list(enumerate(schedule.epochs(config.epochs), start=1))[
        len(curve) :
    ]:
        start = time.monotonic()
        set_lr(config, optimizer, epoch)
        rows = epoch_rows(class_ids, n_real, epoch_images, recipe.sampler, seed, epoch)
        counts = np.bincount(class_ids[rows], minlength=len(data.classes))
        loss_fn = loss_function(recipe.loss, counts.tolist(), accelerator.device)
        augment = make_augmentation(config, recipe, seed, epoch)
        loss = train_epoch(
            config, accelerator, model, optimizer, images, labels, rows, loss_fn, augment
        )
        seconds += time.monotonic() - start
        # evaluate on validation and test
        validation = evaluate(model, data.validation, accelerator)
        test = evaluate(model, data.test, accelerator)
        line = {"epoch": epoch, "train_loss": loss} | {
            f"{part}_{name}": values[name]
            for part, values in (("validation", validation), ("test", test))
            for name in measures()
        }
        curve.append(line)
        log(line)
        if validation[PRIMARY] > best["validation_macro_f1"]:
            best = {"epoch": epoch, "validation_macro_f1": validation[PRIMARY], "test": test}
            weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        if epoch < config.epochs:
            run.checkpoint_or_stop(
                {
                    **(tag or {}),
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "curve": curve,
                    "best": best,
                    "seconds": seconds,
                    # torch writes shared storage once
                    "weights": model.state_dict() if best["epoch"] == epoch else weights,
                }
            )
    return {"curve": curve, "best": best, "seconds": seconds}, weights


def fresh_classifier(
    config: ClassifierConfig, classes: tuple[str, ...], seed: int, *, imagenet: bool = False
) -> Classifier:
    """The classifier from which every arm of a seed starts."""
    return seeded_classifier(list(classes), derive_seed(seed, 20), config.network, imagenet)


def make_sgd(config: ClassifierConfig, model: Classifier) -> torch.optim.Optimizer:
    """SGD (paper section 5.4), fused: one pass over the weights per step."""
    return torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum, fused=True)


def set_lr(config: ClassifierConfig, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Set the learning rate of an epoch, counted from 1."""
    factor = warmup_cosine(epoch - 1, 0, config.epochs) if config.cosine else 1.0
    optimizer.param_groups[0]["lr"] = config.lr * factor


def make_augmentation(config: ClassifierConfig, recipe: Recipe, seed: int, epoch: int) -> Augment:
    """The augmentation of an epoch's batches, from (seed, epoch, batch) alone."""
    if "scans" not in (recipe.augmentation, config.augmentation):
        return lambda images, batch: images
    return lambda images, batch: augment_scans(images, keyed_generator(seed, 12, epoch, batch))


def train_step(
    accelerator: Accelerator,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    loss_fn: LossFunction,
) -> Tensor:
    """One update on images, float (n, C, H, W) in [-1, 1]; returns the loss, not synchronised."""
    with accelerator.autocast():
        logits = model(images)
    loss = loss_fn(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    optimizer.step()
    return loss.detach()


def train_epoch(
    config: ClassifierConfig,
    accelerator: Accelerator,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    order: np.ndarray,
    loss_fn: LossFunction,
    augment: Augment,
) -> float:
    """Train for one epoch; returns the mean loss. Raises CellFailed if it is NaN or infinite."""
    model.train()
    rows = torch.as_tensor(order, device=images.device)
    if len(rows) % config.batch_size == 1:
        rows = rows[:-1]  # batch norm needs more than one image
    total = torch.zeros((), device=images.device)
    for number, batch in enumerate(rows.split(config.batch_size)):
        augmented = augment(to_float(images[batch]), number)
        loss = train_step(accelerator, model, optimizer, augmented, labels[batch], loss_fn)
        total += loss * len(batch)
    mean = float(total) / max(1, len(rows))
    if not math.isfinite(mean):
        raise CellFailed(f"The classifier's loss became {mean}; a smaller lr helps.")
    return mean


@torch.no_grad()
def predict(model: Classifier, images: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """Class probabilities, float32 (n, K), of uint8 (n, H, W, C), in eval mode."""
    is_training = model.training
    model.eval()
    batches = [np.zeros((0, len(model.classes)), np.float32)]
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = to_float(images[start : start + EVALUATION_BATCH]).to(accelerator.device)
        with accelerator.autocast():
            logits = model(batch)
        batches.append(logits.float().softmax(dim=1).cpu().numpy())
    model.train(is_training)
    return np.concatenate(batches)


def evaluate(model: Classifier, part: Images, accelerator: Accelerator) -> dict[str, Any]:
    """The measures of a part; raises CellFailed if the weights are NaN or infinite."""
    probabilities = predict(model, part.images, accelerator)
    if not np.isfinite(probabilities).all():
        raise CellFailed("The classifier's weights became NaN or infinite; a smaller lr helps.")
    return measure(probabilities, part.labels)


def _concatenate(data: CellData, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    parts = [data.real] + ([data.synthetic] if data.synthetic is not None else [])
    images = torch.as_tensor(np.concatenate([p.images for p in parts]))
    labels = torch.as_tensor(np.concatenate([p.labels for p in parts]))
    return images.to(accelerator.device), labels.to(accelerator.device)
