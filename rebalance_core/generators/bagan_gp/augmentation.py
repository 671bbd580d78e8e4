"""Differentiable augmentation of real and generated images alike, so that a discriminator of few
images learns longer and the generator never learns the augmentation (Zhao et al. 2020,
arXiv 2006.10738)."""

import torch
from torch import Tensor

from rebalance_core.imaging.affine import warp

SHIFT = 1 / 8  # of the side, at most
HOLE = 1 / 2  # of the side, cut out
BLACK = -1.0  # fill outside the image


def diff_augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness, saturation, contrast, translation, cutout, drawn for each image; differentiable.

    Float (n, C, H, W) in [-1, 1] → the same shape, beyond that range where colours moved.
    """
    n, channels, height, width = images.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand((n, *shape), generator=random).to(images.device)

    # colour
    images = images + (draw(1, 1, 1) - 0.5)
    if channels > 1:
        gray = images.mean(dim=1, keepdim=True)
        images = gray + (images - gray) * (2 * draw(1, 1, 1))
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = level + (images - level) * (0.5 + draw(1, 1, 1))
    # Translate by whole pixels.
    shift = ((2 * draw(2) - 1) * SHIFT * width).round() * 2 / width
    eye = torch.eye(2, device=images.device).expand(n, 2, 2)
    matrices = torch.cat([eye, shift[:, :, None]], dim=2)
    moved = warp(images.float(), matrices, mode="nearest", fill=BLACK)
    # cutout
    hole = int(width * HOLE)
    corner = (draw(2) * (width + 1)).long() - hole // 2
    rows = torch.arange(height, device=images.device)
    inside = (rows >= corner[..., None]) & (rows < corner[..., None] + hole)  # (n, 2, side)
    cut = inside[:, 0, :, None] & inside[:, 1, None, :]
    return moved * ~cut[:, None]
