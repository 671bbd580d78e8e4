"""The losses of a recipe: pure functions of logits (n, K) and labels (n,)."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rebalance_core.classifiers.recipe import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
FOCUS = 2.0  # γ, Lin et al. 2017, section 4.1
ADJUSTMENT = 1.0  # τ, Menon et al. 2021, section 5.2
SMOOTHING = 0.1  # Szegedy et al. 2016, arXiv 1512.00567, section 7
EFFECTIVE = 0.9999  # β, Cui et al. 2019, as Cao et al. 2019 use it


def class_weights(counts: Tensor) -> Tensor:
    """Inverse-frequency weights n / (K · n_k), float (K,); 0 for a class without images."""
    weights = counts.sum() / (len(counts) * counts.clamp(min=1))
    return torch.where(counts > 0, weights, torch.zeros_like(weights))


def effective_weights(counts: Tensor, effective: float = EFFECTIVE) -> Tensor:
    """Inverse effective numbers (1 − β) / (1 − β^n), with mean 1, float (K,).

    Cui et al. 2019 (arXiv 1901.05555, eq. 2); 0 for a class without images.
    """
    weights = (1 - effective) / (1 - effective ** counts.double().clamp(min=1))
    weights = torch.where(counts > 0, weights, torch.zeros_like(weights))
    return (weights * (counts > 0).sum() / weights.sum()).float()


def weighted(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Σ w·CE / n, a scalar.

    torch's own weighted mean divides by the sum of the batch's weights instead, so that a batch of
    a single class would not be weighted at all.
    """
    return (F.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def focal(logits: Tensor, labels: Tensor, focus: float = FOCUS) -> Tensor:
    """Focal loss: mean of -(1 - p)^γ · log p (Lin et al. 2017, arXiv 1708.02002, eq. 4)."""
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    return (-((1 - log_p.exp()) ** focus) * log_p).mean()


def logit_adjusted(
    logits: Tensor, labels: Tensor, counts: Tensor, adjustment: float = ADJUSTMENT
) -> Tensor:
    """Cross-entropy of logits + τ · log prior (Menon et al. 2021, arXiv 2007.07314, eq. 10)."""
    prior = counts.clamp(min=1) / counts.clamp(min=1).sum()
    return F.cross_entropy(logits + adjustment * prior.log(), labels)


def adjust_probabilities(
    probabilities: np.ndarray, counts: Sequence[int], adjustment: float = ADJUSTMENT
) -> np.ndarray:
    """Softmax of logits − τ · log prior: float (n, K), for `counts` training images per class.

    Logit adjustment after training (Menon et al. 2021, arXiv 2007.07314, section 4.1).
    """
    prior = np.maximum(np.asarray(counts, dtype=np.float64), 1)
    weighted_values = probabilities.astype(np.float64) * (prior / prior.sum()) ** -adjustment
    total = weighted_values.sum(axis=1, keepdims=True)
    return np.asarray((weighted_values / total).astype(np.float32))


def loss_function(loss: Loss, counts: Sequence[int], device: torch.device) -> LossFunction:
    """The loss function of an epoch with `counts` images per class."""
    class_counts = torch.tensor(counts, dtype=torch.float32, device=device)
    if loss == "label-smoothed":
        return partial(F.cross_entropy, label_smoothing=SMOOTHING)
    if loss == "class-weighted":
        return partial(weighted, weights=class_weights(class_counts))
    if loss == "logit-adjusted":
        return partial(logit_adjusted, counts=class_counts)
    return focal if loss == "focal" else F.cross_entropy
