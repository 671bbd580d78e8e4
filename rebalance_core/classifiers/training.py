"""The training loop of one classifier (paper section 5.4)."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from models.classifier import Classifier, seeded_classifier
from rebalance_core.classifiers.augmentation import augment_scans, augment_trivially
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.epochs import balanced_steps, period_rows
from rebalance_core.classifiers.losses import (
    LossFunction,
    adjust_probabilities,
    effective_weights,
    loss_function,
    weighted,
)
from rebalance_core.classifiers.measures import PRIMARY, measures
from rebalance_core.classifiers.metrics import measure
from rebalance_core.classifiers.mixing import mix
from rebalance_core.classifiers.recipe import Mixing, Recipe, Sampler, Views
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.config import Precision
from rebalance_core.errors import UserError
from rebalance_core.runs.run import Run
from rebalance_core.training.batches import to_float
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import derive_seed, keyed_generator
from rebalance_core.training.rates import warmup_cosine
from rebalance_core.training_sets.load import Images

EVALUATION_BATCH = 256
NOT_FINITE = "The classifier's weights became NaN or infinite; a smaller lr helps."
Augment = Callable[[Tensor, int], Tensor]  # images and the number of their batch → images


class CellFailed(UserError):
    """The training of one cell failed; other cells of the comparison continue."""


@dataclass(frozen=True)
class CellData:
    """The images of one cell, uint8: real and synthetic training images, and validation.

    `test` is evaluated after every epoch, without a part in training or in the choice of an epoch;
    None: not at all.
    """

    real: Images
    synthetic: Images | None
    validation: Images
    test: Images | None
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

    Returns ({curve, best, seconds}, weights): `best` is the epoch with the highest validation
    macro-F1 (the first of equals), whose weights are returned. `log` receives each epoch's training
    loss and validation measures, the curve the test measures as well. `state` is a checkpoint of
    this function (with the fields of `tag`), from which training continues exactly. Raises
    CellFailed if the loss is NaN or infinite.
    """
    # data, in memory: real images before synthetic ones
    accelerator = create_accelerator(config.precision)
    images, labels = _concatenate(data, accelerator)
    class_ids, n_real = labels.cpu().numpy(), len(data.real.labels)
    count = None
    if config.budget == "updates":
        counts = np.bincount(data.real.labels, minlength=len(data.classes)).tolist()
        count = balanced_steps(counts, config.batch_size) * config.batch_size
    # model, optimizer
    model = make_model() if make_model else fresh_classifier(config, data.classes, seed)
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_sgd(config, model, recipe.weight_decay)
    has_last_stage = recipe.stage != "none" or recipe.averaging != "none"
    last_stage = last_stage_start(config.epochs) if has_last_stage else None
    # Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407, algorithm 1); the
    # statistics of batch norm are averaged too, instead of computed anew over the images.
    average = AveragedModel(model, use_buffers=True) if recipe.averaging != "none" else None
    curve: list[dict[str, Any]] = []
    best: dict[str, Any] = {"validation_macro_f1": -1.0}
    weights: dict[str, Tensor] = {}
    seconds = 0.0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load_state_dict(state["average"])
        curve, best, seconds = list(state["curve"]), state["best"], state["seconds"]
        weights = state["weights"]
    # epochs
    for epoch, epoch_images in list(enumerate(schedule.epochs(config.epochs), start=1))[
        len(curve) :
    ]:
        start = time.monotonic()
        set_lr(config, optimizer, epoch)
        is_last_stage = last_stage is not None and epoch >= last_stage
        if is_last_stage and recipe.stage == "last-layer":
            retrain_last_layer(config, model, optimizer, seed, epoch)
        sampler, is_frozen = stage_sampler(recipe, is_last_stage)
        rows = period_rows(class_ids, n_real, epoch_images, sampler, seed, epoch, count)
        counts = np.bincount(class_ids[rows], minlength=len(data.classes))
        loss = train_epoch(
            config,
            accelerator,
            model,
            optimizer,
            images,
            labels,
            rows,
            epoch_loss(recipe, counts, is_last_stage, accelerator.device),
            make_augmentation(config, recipe, seed, epoch),
            mixing=recipe.mixing,
            key=(seed, 15, epoch),
            is_frozen=is_frozen,
        )
        evaluated = model
        if average is not None and is_last_stage:
            average.update_parameters(model)
            evaluated = cast(Classifier, average.module)
        seconds += time.monotonic() - start
        # evaluate
        validation = evaluate(evaluated, data.validation, accelerator)
        line = {
            "epoch": epoch,
            "updates": count_updates(config, rows) + (curve[-1]["updates"] if curve else 0),
            "images": len(rows) + (curve[-1]["images"] if curve else 0),
            "train_loss": loss,
        }
        line |= {f"validation_{name}": validation[name] for name in measures()}
        test = None if data.test is None else evaluate(evaluated, data.test, accelerator)
        curve.append(line | {f"test_{name}": test[name] for name in measures() if test})
        log(line)
        is_candidate = last_stage is None or is_last_stage  # else not yet what the arm names
        if is_candidate and validation[PRIMARY] > best["validation_macro_f1"]:
            best = {"epoch": epoch, "validation_macro_f1": validation[PRIMARY]}
            weights = {k: v.detach().cpu().clone() for k, v in evaluated.state_dict().items()}
        if epoch < config.epochs:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            if average is not None:
                state["average"] = average.state_dict()
            # torch writes shared storage once
            kept = evaluated.state_dict() if best.get("epoch") == epoch else weights
            state |= {"curve": curve, "best": best, "seconds": seconds, "weights": kept}
            run.checkpoint_or_stop({**(tag or {}), **state})
    return {"curve": curve, "best": best, "seconds": seconds}, weights


def count_updates(config: ClassifierConfig, rows: np.ndarray) -> int:
    """Updates of `train_epoch` on these rows: no batch has a single image."""
    return -(-(len(rows) - (len(rows) % config.batch_size == 1)) // config.batch_size)


def fresh_classifier(
    config: ClassifierConfig, classes: tuple[str, ...], seed: int, *, imagenet: bool = False
) -> Classifier:
    """The classifier from which every arm of a seed starts."""
    return seeded_classifier(list(classes), derive_seed(seed, 20), config.network, imagenet)


def make_sgd(
    config: ClassifierConfig, model: Classifier, decay: float = 0.0
) -> torch.optim.Optimizer:
    """SGD (paper section 5.4), fused: one pass over the weights per step."""
    return torch.optim.SGD(
        model.parameters(), config.lr, momentum=config.momentum, weight_decay=decay, fused=True
    )


def stage_sampler(recipe: Recipe, is_last_stage: bool) -> tuple[Sampler, bool]:
    """The sampler of an epoch, and whether only the last layer is trained."""
    is_frozen = is_last_stage and recipe.stage == "last-layer"
    return ("over" if is_frozen else recipe.sampler), is_frozen


def epoch_loss(
    recipe: Recipe, counts: np.ndarray, is_last_stage: bool, device: torch.device
) -> LossFunction:
    """The loss function of an epoch that shows `counts` images of each class, (K,)."""
    if is_last_stage and recipe.stage == "reweighted":
        return partial(weighted, weights=effective_weights(torch.as_tensor(counts, device=device)))
    return loss_function(recipe.loss, counts.tolist(), device)


def last_stage_start(epochs: int) -> int:
    """The first epoch of the last fifth, in which a recipe's second stage is trained."""
    return epochs - max(1, round(epochs / 5)) + 1


def retrain_last_layer(
    config: ClassifierConfig,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    seed: int,
    epoch: int,
) -> None:
    """Freeze all but the last linear layer, which starts anew in the first epoch of the stage.

    Classifier re-training, cRT (Kang et al. 2020, arXiv 1910.09217, section 4.2). The learning
    rate starts again, too, and falls to zero with a cosine if the config says so.
    """
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    if not linear:
        raise CellFailed("The network has no linear layer that could be trained again.")
    own = {id(p) for p in linear[-1].parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in own)
        parameter.grad = None
    start = last_stage_start(config.epochs)
    if config.cosine:
        factor = warmup_cosine(epoch - start, 0, config.epochs - start + 1)
        optimizer.param_groups[0]["lr"] = config.lr * factor
    if epoch > start:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, 22))
        fresh = torch.nn.Linear(linear[-1].in_features, linear[-1].out_features)
    with torch.no_grad():
        linear[-1].weight.copy_(fresh.weight)
        if linear[-1].bias is not None:
            linear[-1].bias.copy_(fresh.bias)
    for parameter in model.parameters():
        optimizer.state.pop(parameter, None)  # the momentum of the first stage


def set_lr(config: ClassifierConfig, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Set the learning rate of an epoch, counted from 1."""
    factor = warmup_cosine(epoch - 1, 0, config.epochs) if config.cosine else 1.0
    optimizer.param_groups[0]["lr"] = config.lr * factor


def make_augmentation(config: ClassifierConfig, recipe: Recipe, seed: int, epoch: int) -> Augment:
    """The augmentation of an epoch's batches, from (seed, epoch, batch) alone."""
    if recipe.augmentation == "trivial":
        return lambda images, batch: augment_trivially(
            images, [derive_seed(seed, 16, epoch, batch, k) for k in range(len(images))]
        )
    if "scans" not in (recipe.augmentation, config.augmentation):
        return lambda images, batch: images
    return lambda images, batch: augment_scans(images, keyed_generator(seed, 12, epoch, batch))


def train_step(
    accelerator: Accelerator,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    loss_fn: Callable[[Tensor], Tensor],
) -> Tensor:
    """One update on images, float (n, C, H, W) in [-1, 1]; returns the loss, not synchronised.

    `loss_fn` is the loss of the images' logits, float (n, K).
    """
    with accelerator.autocast():
        logits = model(images)
    loss = loss_fn(logits.float())
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
    *,
    mixing: Mixing = "none",
    key: tuple[int, ...] = (),
    is_frozen: bool = False,
) -> float:
    """Train for one epoch; returns the mean loss. Raises CellFailed if it is NaN or infinite.

    Batches are mixed from `key` and their number alone. `is_frozen`: the layers below the last one
    are not trained, nor the statistics of their batch norm.
    """
    model.train(not is_frozen)
    rows = torch.as_tensor(order, device=images.device)
    if len(rows) % config.batch_size == 1:
        rows = rows[:-1]  # batch norm needs more than one image
    total = torch.zeros((), device=images.device)
    for number, batch in enumerate(rows.split(config.batch_size)):
        augmented = augment(to_float(images[batch]), number)
        mixed, loss_of = mix(mixing, augmented, labels[batch], loss_fn, *key, number)
        loss = train_step(accelerator, model, optimizer, mixed, loss_of)
        total += loss * len(batch)
    mean = float(total) / max(1, len(rows))
    if not math.isfinite(mean):
        raise CellFailed(f"The classifier's loss became {mean}; a smaller lr helps.")
    return mean


@torch.no_grad()
def predict(
    model: Classifier, images: np.ndarray, accelerator: Accelerator, views: Views = "one"
) -> np.ndarray:
    """Class probabilities, float32 (n, K), of uint8 (n, H, W, C), in eval mode.

    `mirrored`: the mean of those of each image and its mirror image.
    """
    if views == "mirrored":
        both = [predict(model, part, accelerator) for part in (images, images[:, :, ::-1])]
        return np.asarray((both[0] + both[1]) / 2)
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


def predict_rounded(
    model: Classifier,
    images: np.ndarray,
    precision: Precision,
    prior: Sequence[int] | None = None,
    views: Views = "one",
) -> np.ndarray:
    """Class probabilities, float16 (n, K), as they are kept: whatever is computed is of these.

    Adjusted for `prior`, the training images per class, if it is given. Raises CellFailed if the
    weights are NaN or infinite.
    """
    accelerator = create_accelerator(precision)
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    probabilities = predict(model, images, accelerator, views)
    if not np.isfinite(probabilities).all():
        raise CellFailed(NOT_FINITE)
    if prior is not None:
        probabilities = adjust_probabilities(probabilities, prior)
    return probabilities.astype(np.float16)


def evaluate(model: Classifier, part: Images, accelerator: Accelerator) -> dict[str, Any]:
    """The measures of a part; raises CellFailed if the weights are NaN or infinite."""
    probabilities = predict(model, part.images, accelerator)
    if not np.isfinite(probabilities).all():
        raise CellFailed(NOT_FINITE)
    return measure(probabilities, part.labels)


def _concatenate(data: CellData, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    parts = [data.real] + ([data.synthetic] if data.synthetic is not None else [])
    images = torch.as_tensor(np.concatenate([p.images for p in parts]))
    labels = torch.as_tensor(np.concatenate([p.labels for p in parts]))
    return images.to(accelerator.device), labels.to(accelerator.device)
