"""Mixing of training images in pairs: mixup and CutMix."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rebalance_core.classifiers.losses import LossFunction
from rebalance_core.classifiers.recipe import Mixing

ALPHA = 1.0  # of the Beta distribution of λ (Zhang et al. 2018, section 3; Yun et al. 2019)
# images (n, C, H, W), labels (n,), loss → mixed images, and the loss of logits alone
Mixed = tuple[Tensor, Callable[[Tensor], Tensor]]


def mix(mixing: Mixing, images: Tensor, labels: Tensor, loss_fn: LossFunction, *key: int) -> Mixed:
    """Mix a batch with a permutation of itself; every number is drawn from `key` alone.

    float (n, C, H, W), labels (n,) → mixed images and λ · loss(labels) + (1 − λ) · loss(those of
    the other images), as a function of logits (n, K).
    """
    if mixing == "none":
        return images, lambda logits: loss_fn(logits, labels)
    random = np.random.default_rng(key)
    share = float(random.beta(ALPHA, ALPHA))
    other = torch.as_tensor(random.permutation(len(images)), device=images.device)
    if mixing == "mixup":
        mixed = share * images + (1 - share) * images[other]
    else:
        height, width = images.shape[2:]
        top, bottom, left, right = cut_box(height, width, share, random)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)

    def loss(logits: Tensor) -> Tensor:
        return share * loss_fn(logits, labels) + (1 - share) * loss_fn(logits, labels[other])

    return mixed, loss


def cut_box(
    height: int, width: int, share: float, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box of area 1 − `share` around a uniform centre, cropped.

    Yun et al. 2019 (arXiv 1905.04899), eq. 2.
    """
    side = np.sqrt(1 - share)
    bounds: list[int] = []
    for length in (height, width):
        middle, half = int(random.integers(length)), int(length * side) // 2
        bounds += [max(0, middle - half), min(length, middle + half)]
    top, bottom, left, right = bounds
    return top, bottom, left, right
