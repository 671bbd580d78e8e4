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
    augmentation,
    open_optimizer,
    set_rate,
    train_epoch,
)
from rebalance_core.training.batches import to_float
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import derive_seed
from rebalance_core.training_sets.load import Images


@dataclass
class Scorer:
    model: Classifier

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (n, H, W, C) → class probabilities (n, K) and features (n, 512), float32."""
        network: Any = self.model.network
        body = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        device = next(self.model.parameters()).device
        features = []
        for start in range(0, len(images), EVALUATION_BATCH):
            batch = to_float(images[start : start + EVALUATION_BATCH]).to(device)
            features.append(body(batch.expand(-1, 3, -1, -1)).float())
        found = torch.cat(features)
        return network.fc(found).softmax(dim=1).cpu().numpy(), found.cpu().numpy()


def train_scorer(
    config: ClassifierConfig,
    real: Images,
    classes: tuple[str, ...],
    seed: int,
    *,
    kept: Mapping[str, Any] | None = None,
    after_epoch: Callable[[float, dict[str, Any]], None] | None = None,
) -> Scorer:
    """Train on all of `real` for the config's epochs; the last epoch's weights.

    `after_epoch` is given each epoch's loss and a state, from which training goes on exactly when
    that is given as `kept`.
    """
    accelerator = create_accelerator(config.precision)
    images = torch.as_tensor(np.array(real.images)).to(accelerator.device)
    labels = torch.as_tensor(real.labels).to(accelerator.device)
    model = seeded_classifier(list(classes), derive_seed(seed, 30))
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = open_optimizer(config, model)
    done = 0
    if kept:
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["epoch"]
    for epoch in range(done + 1, config.epochs + 1):
        set_rate(config, optimizer, epoch)
        order = epoch_order(len(labels), 0, seed, epoch)
        augment = augmentation(config, Recipe(), seed, epoch)
        loss = train_epoch(
            config, accelerator, model, optimizer, images, labels, order, F.cross_entropy, augment
        )
        if after_epoch is not None:
            states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            after_epoch(loss, {"epoch": epoch, **states})
    return Scorer(model.eval())
