"""Augmentation that suits scans: what another patient, table or scanner could have changed."""

import torch
from torch import Tensor

from rebalance_core.imaging.affine import warp

TURN = 10.0  # degrees, either way
SHIFT = 0.06  # of the side, either way
SCALE = 0.1  # larger or smaller
CONTRAST = 0.2  # stronger or weaker
BRIGHTNESS = 0.1  # of the range [-1, 1], either way


def augment_scans(images: Tensor, random: torch.Generator) -> Tensor:
    """Float (n, C, H, W) in [-1, 1] → the same, each image mirrored (half of them), turned,
    shifted, scaled, and of other contrast and brightness, all drawn from the CPU's `random`."""
    n = len(images)
    draw = (torch.rand(7, n, generator=random) * 2 - 1).to(images.device)
    mirror = torch.where(draw[0] < 0, -1.0, 1.0)
    turn, scale = torch.deg2rad(draw[1] * TURN), 1 + draw[2] * SCALE
    cos, sin = turn.cos() / scale, turn.sin() / scale
    rows = [mirror * cos, -mirror * sin, draw[3] * 2 * SHIFT, sin, cos, draw[4] * 2 * SHIFT]
    moved = warp(images, torch.stack(rows, dim=1).view(n, 2, 3))
    contrast = 1 + draw[5].view(-1, 1, 1, 1) * CONTRAST
    # Black stays black: contrast turns about it, and brightness comes with what there is to see.
    light = (moved + 1) * contrast * (1 + draw[6].view(-1, 1, 1, 1) * BRIGHTNESS)
    return (light - 1).clamp(-1, 1)
