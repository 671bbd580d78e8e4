"""Affine warps of batches of images."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Mode = Literal["bilinear", "nearest"]


def warp(
    images: Tensor, matrices: Tensor, *, mode: Mode = "bilinear", fill: float | None = None
) -> Tensor:
    """Float (n, C, H, W) resampled by one matrix per image, (n, 2, 3); differentiable.

    A matrix maps output to input coordinates (x, y), both normalised to [-1, 1]. Outside the image
    is `fill`, or the nearest border pixel if that is None.
    """
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    if fill is None:
        return F.grid_sample(images, grid, mode, padding_mode="border", align_corners=False)
    # grid_sample pads with 0
    return F.grid_sample(images - fill, grid, mode, align_corners=False) + fill
