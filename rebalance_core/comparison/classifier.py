"""The classifier's training loop (paper section 5.4): arms differ in their images alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from torch import Tensor

from models.resnet import Classifier, seeded_classifier
from rebalance_core.comparison.configs import ClassifierConfig
from rebalance_core.datasets.training_set import Images
from rebalance_core.device import derived_seed, open_device, to_unit, warmup_cosine
from rebalance_core.errors import UserError
from rebalance_core.runs.run import Run

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class CellData:
    """What one cell sees: real and synthetic training images, validation and test, all uint8."""

    real: Images
    synthetic: Images | None
    validation: Images
    test: Images
    classes: tuple[str, ...]


def epoch_order(real: int, synthetic: int, seed: int, epoch: int) -> np.ndarray:
    """Rows of one epoch: 0 … real - 1 are real, the rest synthetic.

    The real images come in the same order whatever is mixed in, so that arms are paired by seed.
    """
    order = np.random.default_rng([seed, 10, epoch]).permutation(real)
    if not synthetic:
        return order
    random = np.random.default_rng([seed, 11, epoch])
    mixed = np.empty(real + synthetic, dtype=np.int64)
    places = np.zeros(real + synthetic, dtype=bool)
    places[random.choice(real + synthetic, synthetic, replace=False)] = True
    mixed[~places] = order
    mixed[places] = real + random.permutation(synthetic)
    return mixed


def train_classifier(
    config: ClassifierConfig,
    data: CellData,
    mask: tuple[bool, ...],
    seed: int,
    run: Run,
    *,
    log: Callable[[dict[str, Any]], None],
    kept: dict[str, Any] | None = None,
    tag: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train one cell; `mask` says which epochs see synthetic images.

    Returns the curve and, at the epoch that is best on validation (macro-F1, the first if they
    tie), what the test split says. `kept` is a state that this function gave to the run's
    checkpoint (with `tag` in it) and continues from exactly.
    """
    # data: all in memory, real before synthetic
    accelerator = open_device(config.precision)
    images, labels = _stack(data, accelerator)
    n_real = len(data.real.labels)
    # model, optimizer
    model = seeded_classifier(list(data.classes), derived_seed(seed, 20))
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum)
    curve: list[dict[str, Any]] = []
    best: dict[str, Any] = {"validation_macro_f1": -1.0}
    seconds = 0.0
    if kept:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        curve, best, seconds = list(kept["curve"]), kept["best"], kept["seconds"]
    # epochs
    for epoch in range(len(curve) + 1, config.epochs + 1):
        began = time.monotonic()
        factor = warmup_cosine(epoch - 1, 0, config.epochs) if config.cosine else 1.0
        optimizer.param_groups[0]["lr"] = config.lr * factor
        n_synthetic = len(labels) - n_real if mask[epoch - 1] else 0
        order = epoch_order(n_real, n_synthetic, seed, epoch)
        loss = train_epoch(config, accelerator, model, optimizer, images, labels, order)
        seconds += time.monotonic() - began
        # what validation and test say of it
        validation = evaluate(model, data.validation, accelerator)
        test = evaluate(model, data.test, accelerator)
        numbers = {
            "epoch": epoch,
            "train_loss": loss,
            "validation_accuracy": validation["accuracy"],
            "validation_macro_f1": validation["macro_f1"],
            "test_accuracy": test["accuracy"],
            "test_macro_f1": test["macro_f1"],
        }
        curve.append(numbers)
        log(numbers)
        if validation["macro_f1"] > best["validation_macro_f1"]:
            best = {"epoch": epoch, "validation_macro_f1": validation["macro_f1"], "test": test}
        if epoch < config.epochs:
            run.stop_here({
                **(tag or {}), "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                "curve": curve, "best": best, "seconds": seconds,
            })  # fmt: skip
    return {"curve": curve, "best": best, "seconds": seconds}


def train_step(
    accelerator: Accelerator,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """One update on float images (n, C, H, W) in [-1, 1]; the loss, not yet synchronised."""
    with accelerator.autocast():
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
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
) -> float:
    """Mean loss over the epoch's images; NaN ends the cell with a sentence."""
    model.train()
    rows = torch.as_tensor(order, device=images.device)
    if len(rows) % config.batch_size == 1:
        rows = rows[:-1]  # batch norm cannot do with a single image
    total = torch.zeros((), device=images.device)
    for batch in rows.split(config.batch_size):
        loss = train_step(accelerator, model, optimizer, to_unit(images[batch]), labels[batch])
        total += loss * len(batch)
    mean = float(total) / max(1, len(rows))
    if not math.isfinite(mean):
        raise UserError(f"The classifier's loss became {mean}; a smaller lr helps.")
    return mean


@torch.no_grad()
def predict(model: Classifier, images: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """uint8 (n, H, W, C) → predicted class numbers (n,); the model's mode is restored."""
    training = model.training
    model.eval()
    predicted = []
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = to_unit(images[start : start + EVALUATION_BATCH]).to(accelerator.device)
        with accelerator.autocast():
            predicted.append(model(batch).argmax(dim=1).cpu())
    model.train(training)
    return torch.cat(predicted).numpy() if predicted else np.zeros(0, np.int64)


def evaluate(model: Classifier, part: Images, accelerator: Accelerator) -> dict[str, Any]:
    """Accuracy, macro-F1, recall of each class, confusion (rows: truth), predictions."""
    predicted = predict(model, part.images, accelerator)
    numbers = range(len(model.classes))
    return {
        "accuracy": float(accuracy_score(part.labels, predicted)),
        "macro_f1": float(
            f1_score(part.labels, predicted, labels=numbers, average="macro", zero_division=0)
        ),
        "recall": recall_score(
            part.labels, predicted, labels=numbers, average=None, zero_division=0
        ).tolist(),
        "confusion": confusion_matrix(part.labels, predicted, labels=numbers).tolist(),
        "predictions": predicted.tolist(),
    }


def _stack(data: CellData, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    parts = [data.real] + ([data.synthetic] if data.synthetic is not None else [])
    images = torch.as_tensor(np.concatenate([p.images for p in parts]))
    labels = torch.as_tensor(np.concatenate([p.labels for p in parts]))
    return images.to(accelerator.device), labels.to(accelerator.device)
