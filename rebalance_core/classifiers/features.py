"""The scorer: a ResNet-18 trained on the real images of a training set alone, whose predictions
and features judge generated images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models.classifier import Classifier, seeded_classifier
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.epochs import epoch_order
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.training import (
    EVALUATION_BATCH,
    make_augmentation,
    make_sgd,
    set_lr,
    train_epoch,
)
from rebalance_core.training.batches import to_float
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import derive_seed
from rebalance_core.training_sets.load import Images


@dataclass
class Scorer:
    """A trained classifier that returns probabilities and features."""

    model: Classifier

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities (n, K) and features (n, 512), float32, of uint8 (n, H, W, C)."""
        network: Any = self.model.network
        body = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        device = next(self.model.parameters()).device
        batches = []
        for start in range(0, len(images), EVALUATION_BATCH):
            batch = to_float(images[start : start + EVALUATION_BATCH]).to(device)
            batches.append(body(batch.expand(-1, 3, -1, -1)).float())
        features = torch.cat(batches)
        return network.fc(features).softmax(dim=1).cpu().numpy(), features.cpu().numpy()


def train_scorer(
    config: ClassifierConfig,
    real: Images,
    classes: tuple[str, ...],
    seed: int,
    *,
    state: Mapping[str, Any] | None = None,
    after_epoch: Callable[[float, dict[str, Any]], None] | None = None,
) -> Scorer:
    """Train on all of `real` for the config's epochs; returns the last epoch's classifier.

    `after_epoch` receives each epoch's loss and a state; passed as `state`, training continues from
    it exactly.
    """
    accelerator = create_accelerator(config.precision)
    images = torch.as_tensor(np.array(real.images)).to(accelerator.device)
    labels = torch.as_tensor(real.labels).to(accelerator.device)
    model = seeded_classifier(list(classes), derive_seed(seed, 30))
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_sgd(config, model)
    last_epoch = 0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        last_epoch = state["epoch"]
    for epoch in range(last_epoch + 1, config.epochs + 1):
        set_lr(config, optimizer, epoch)
        order = epoch_order(len(labels), 0, seed, epoch)
        augment = make_augmentation(config, Recipe(), seed, epoch)
        loss = train_epoch(
            config, accelerator, model, optimizer, images, labels, order, F.cross_entropy, augment
        )
        if after_epoch is not None:
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            after_epoch(loss, {"epoch": epoch, **parts})
    return Scorer(model.eval())
