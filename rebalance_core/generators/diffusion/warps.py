"""Moves of training images that a model is told of, so that what it samples shows none of them
(Karras et al. 2022, arXiv 2206.00364, appendix F.2)."""

import torch
from torch import Tensor

from models.unet import AUGMENT_DIM
from rebalance_core.imaging.affine import warp

ZOOM, TURN, SHIFT = 0.1, 0.15, 0.06  # standard deviations: log2 of a factor, radians, of the side


def draw_warps(n: int, chance: float, random: torch.Generator) -> Tensor:
    """(n, AUGMENT_DIM): mirrored (0 or 1), then zoom, turn, shift across, shift down in standard
    deviations; each of the four moves happens with `chance`, and is 0 otherwise."""
    happens = torch.rand((n, 4), generator=random) < chance
    mirrored = happens[:, :1].float()
    amounts = torch.randn((n, AUGMENT_DIM - 1), generator=random)
    return torch.cat([mirrored, amounts * happens[:, [1, 2, 3, 3]]], dim=1)


def warp_images(images: Tensor, warps: Tensor) -> Tensor:
    """Float (n, C, H, W) transformed by `warps` (n, AUGMENT_DIM); outside, the border is repeated.
    Images whose warp is all zeros come back as they were, bit for bit."""
    moved = warps.any(dim=1)
    if not moved.any():
        return images
    mirrored, zoom, turn, *shift = warps[moved].to(images.device).unbind(dim=1)
    scale = torch.exp2(-ZOOM * zoom)  # `warp` takes the inverse map
    cos, sin = torch.cos(TURN * turn) * scale, torch.sin(TURN * turn) * scale
    across, down = (-2 * SHIFT * s for s in shift)
    flip = 1 - 2 * mirrored
    matrices = torch.stack(
        [
            torch.stack([cos * flip, sin * flip, across], dim=1),
            torch.stack([-sin, cos, down], dim=1),
        ],
        dim=1,
    )
    warped = images.clone()
    warped[moved] = warp(images[moved], matrices)
    return warped
