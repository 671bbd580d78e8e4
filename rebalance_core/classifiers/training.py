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
    """This cell came to nothing; others may fare better."""


@dataclass(frozen=True)
class CellData:
    """What one cell sees: real and synthetic training images, validation and test, all uint8."""

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
    start: Callable[[], Classifier] | None = None,
    kept: dict[str, Any] | None = None,
    tag: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train one cell. `start` makes its classifier (default: fresh, by `config` and `seed`).

    Returns what is told of it (the curve and, at the epoch that is best on validation (macro-F1,
    the first if they tie), what validation and test say) and that epoch's weights. `kept` is a
    state that this function gave to the run's checkpoint (with `tag` in it) and continues from
    exactly. Raises CellFailed where the loss is no number.
    """
    # data: all in memory, real before synthetic
    accelerator = create_accelerator(config.precision)
    images, labels = _stack(data, accelerator)
    numbers, n_real = labels.cpu().numpy(), len(data.real.labels)
    # model, optimizer
    model = (start or (lambda: fresh_classifier(config, data.classes, seed)))()
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = open_optimizer(config, model)
    curve: list[dict[str, Any]] = []
    best: dict[str, Any] = {"validation_macro_f1": -1.0}
    weights: dict[str, Tensor] = {}
    seconds = 0.0
    if kept:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        curve, best, seconds = list(kept["curve"]), kept["best"], kept["seconds"]
        weights = kept["weights"]
    # epochs
    for epoch, shows in list(enumerate(schedule.epochs(config.epochs), start=1))[len(curve) :]:
        began = time.monotonic()
        set_rate(config, optimizer, epoch)
        rows = epoch_rows(numbers, n_real, shows, recipe.sampler, seed, epoch)
        shown = np.bincount(numbers[rows], minlength=len(data.classes))
        loss_of = loss_function(recipe.loss, shown.tolist(), accelerator.device)
        augment = augmentation(config, recipe, seed, epoch)
        loss = train_epoch(
            config, accelerator, model, optimizer, images, labels, rows, loss_of, augment
        )
        seconds += time.monotonic() - began
        # what validation and test say of it
        validation = evaluate(model, data.validation, accelerator)
        test = evaluate(model, data.test, accelerator)
        told = {"epoch": epoch, "train_loss": loss} | {
            f"{part}_{name}": found[name]
            for part, found in (("validation", validation), ("test", test))
            for name in measures()
        }
        curve.append(told)
        log(told)
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
                    # The same storage is written once.
                    "weights": model.state_dict() if best["epoch"] == epoch else weights,
                }
            )
    return {"curve": curve, "best": best, "seconds": seconds}, weights


def fresh_classifier(
    config: ClassifierConfig, classes: tuple[str, ...], seed: int, *, imagenet: bool = False
) -> Classifier:
    """The classifier that every arm of a seed starts from."""
    return seeded_classifier(list(classes), derive_seed(seed, 20), config.network, imagenet)


def open_optimizer(config: ClassifierConfig, model: Classifier) -> torch.optim.Optimizer:
    """SGD (paper section 5.4); fused: one pass over the weights a step."""
    return torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum, fused=True)


def set_rate(config: ClassifierConfig, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    factor = warmup_cosine(epoch - 1, 0, config.epochs) if config.cosine else 1.0
    optimizer.param_groups[0]["lr"] = config.lr * factor


def augmentation(config: ClassifierConfig, recipe: Recipe, seed: int, epoch: int) -> Augment:
    """What is done to each batch of an epoch; drawn from (seed, epoch, batch) alone."""
    if "scans" not in (recipe.augmentation, config.augmentation):
        return lambda images, batch: images
    return lambda images, batch: augment_scans(images, keyed_generator(seed, 12, epoch, batch))


def train_step(
    accelerator: Accelerator,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    loss_of: LossFunction,
) -> Tensor:
    """One update on float images (n, C, H, W) in [-1, 1]; the loss, not yet synchronised."""
    with accelerator.autocast():
        logits = model(images)
    loss = loss_of(logits.float(), labels)
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
    loss_of: LossFunction,
    augment: Augment,
) -> float:
    """Mean loss over the epoch's images; raises CellFailed where it is no number."""
    model.train()
    rows = torch.as_tensor(order, device=images.device)
    if len(rows) % config.batch_size == 1:
        rows = rows[:-1]  # batch norm cannot do with a single image
    total = torch.zeros((), device=images.device)
    for number, batch in enumerate(rows.split(config.batch_size)):
        shown = augment(to_float(images[batch]), number)
        loss = train_step(accelerator, model, optimizer, shown, labels[batch], loss_of)
        total += loss * len(batch)
    mean = float(total) / max(1, len(rows))
    if not math.isfinite(mean):
        raise CellFailed(f"The classifier's loss became {mean}; a smaller lr helps.")
    return mean


@torch.no_grad()
def predict(model: Classifier, images: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """uint8 (n, H, W, C) → class probabilities, float32 (n, K); the model's mode is restored."""
    training = model.training
    model.eval()
    told = [np.zeros((0, len(model.classes)), np.float32)]
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = to_float(images[start : start + EVALUATION_BATCH]).to(accelerator.device)
        with accelerator.autocast():
            logits = model(batch)
        told.append(logits.float().softmax(dim=1).cpu().numpy())
    model.train(training)
    return np.concatenate(told)


def evaluate(model: Classifier, part: Images, accelerator: Accelerator) -> dict[str, Any]:
    """What `measure` tells of a part; raises CellFailed where the weights are no numbers."""
    probabilities = predict(model, part.images, accelerator)
    if not np.isfinite(probabilities).all():
        raise CellFailed("The classifier's weights are no numbers any more; a smaller lr helps.")
    return measure(probabilities, part.labels)


def _stack(data: CellData, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    parts = [data.real] + ([data.synthetic] if data.synthetic is not None else [])
    images = torch.as_tensor(np.concatenate([p.images for p in parts]))
    labels = torch.as_tensor(np.concatenate([p.labels for p in parts]))
    return images.to(accelerator.device), labels.to(accelerator.device)
