"""Losses and metrics of BAGAN-GP as pure functions (Huang and Jafari 2021, arXiv 2011.00189)."""

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
    """Cross-entropies of logits (n,): real images, real with a wrong label, fakes; a scalar."""
    return (
        F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        + F.binary_cross_entropy_with_logits(wrong, torch.zeros_like(wrong))
    )


def generator_loss(fake: Tensor) -> Tensor:
    """Cross-entropy of the logits (n,) of fakes against the label real; a scalar."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, factor: Tensor
) -> Penalty:
    """Mean of (‖∇D‖ - 1)² at real + factor · (fake - real); factor (n, 1, 1, 1)."""
    interpolated = (real + factor * (fake - real)).requires_grad_(True)
    logits = discriminator(interpolated, labels)
    (gradient,) = torch.autograd.grad(logits.sum(), interpolated, create_graph=True)
    norms: Tensor = gradient.float().flatten(1).norm(dim=1)
    return Penalty((norms - 1).square().mean(), norms.detach().mean())


def spread(images: Tensor, labels: Tensor) -> dict[int, float]:
    """{label: mean standard deviation of the pixels over its images}, of (n, C, H, W) and (n,).

    Near 0, all images of the label are equal. Labels with one image are left out.
    """
    counts = torch.bincount(labels)
    return {
        int(c): images[labels == c].float().std(dim=0).mean().item()
        for c in torch.nonzero(counts > 1).flatten()
    }
