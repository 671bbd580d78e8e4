"""BAGAN-GP's losses and measures as pure functions (Huang and Jafari 2021, arXiv 2011.00189)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.bagan_gp import Discriminator


class Penalty(NamedTuple):
    """Gradient penalty (scalar, differentiable) and the mean norm it drives to 1 (detached)."""

    value: Tensor
    norm: Tensor


def discriminator_loss(real: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
    """Logits of real images with their label, real with a wrong label, fakes → scalar."""
    return (
        F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        + F.binary_cross_entropy_with_logits(wrong, torch.zeros_like(wrong))
    )


def generator_loss(fake: Tensor) -> Tensor:
    """Logits of fakes → scalar."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, factor: Tensor
) -> Penalty:
    """Mean of (‖∇D‖ - 1)² at real + factor · (fake - real); factor (n, 1, 1, 1)."""
    between = (real + factor * (fake - real)).requires_grad_(True)
    logits = discriminator(between, labels)
    (slope,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    norms: Tensor = slope.float().flatten(1).norm(dim=1)
    return Penalty((norms - 1).square().mean(), norms.detach().mean())


def spread(images: Tensor, labels: Tensor) -> dict[int, float]:
    """Mean standard deviation of a pixel among the images (n, C, H, W) of each label (n,).

    Near 0, all images of the label are the same. Labels with one image are left out.
    """
    counts = torch.bincount(labels)
    return {
        int(c): images[labels == c].float().std(dim=0).mean().item()
        for c in torch.nonzero(counts > 1).flatten()
    }
