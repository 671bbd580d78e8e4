"""The losses of a recipe: pure functions of logits (n, K) and labels (n,)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from rebalance_core.classifiers.recipe import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
FOCUS = 2.0  # γ, Lin et al. 2017, section 4.1
ADJUSTMENT = 1.0  # τ, Menon et al. 2021, section 5.2


def class_weights(counts: Tensor) -> Tensor:
    """n / (K · n of the class), float (K,): every class weighs the same in sum; a class without
    images weighs 0."""
    weights = counts.sum() / (len(counts) * counts.clamp(min=1))
    return torch.where(counts > 0, weights, torch.zeros_like(weights))


def weighted(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Σ w·CE / n, unlike torch's own mean, which divides by the batch's weights: a batch of one
    class alone would then not be weighted at all."""
    return (F.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def focal(logits: Tensor, labels: Tensor, focus: float = FOCUS) -> Tensor:
    """Mean of -(1 - p)^γ · log p of the true class (Lin et al. 2017, arXiv 1708.02002, eq. 4)."""
    told = -F.cross_entropy(logits, labels, reduction="none")
    return (-((1 - told.exp()) ** focus) * told).mean()


def logit_adjusted(
    logits: Tensor, labels: Tensor, counts: Tensor, adjustment: float = ADJUSTMENT
) -> Tensor:
    """Cross-entropy of logits + τ · log prior (Menon et al. 2021, arXiv 2007.07314, eq. 10)."""
    prior = counts.clamp(min=1) / counts.clamp(min=1).sum()
    return F.cross_entropy(logits + adjustment * prior.log(), labels)


def loss_function(loss: Loss, counts: Sequence[int], device: torch.device) -> LossFunction:
    """The loss of an epoch that shows `counts` images of each class."""
    shown = torch.tensor(counts, dtype=torch.float32, device=device)
    if loss == "class-weighted":
        return partial(weighted, weights=class_weights(shown))
    if loss == "logit-adjusted":
        return partial(logit_adjusted, counts=shown)
    return focal if loss == "focal" else F.cross_entropy
