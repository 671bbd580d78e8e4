"""Augmentation: for scans, variation between patients, positioning and scanners; TrivialAugment."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rebalance_core.imaging.affine import warp
from rebalance_core.training.batches import to_float, to_uint8

ROTATION = 10.0  # degrees, ±
SHIFT = 0.06  # of the side, ±
SCALE = 0.1  # ±
CONTRAST = 0.2  # ±
BRIGHTNESS = 0.1  # of the range [-1, 1], ±


def augment_scans(images: Tensor, random: torch.Generator) -> Tensor:
    """Augment images, float (n, C, H, W) in [-1, 1], each with its own parameters.

    Half of them are flipped; all are rotated, shifted, scaled and changed in contrast and
    brightness, with numbers from `random`, a CPU generator.
    """
    n = len(images)
    draw = (torch.rand(7, n, generator=random) * 2 - 1).to(images.device)
    flip = torch.where(draw[0] < 0, -1.0, 1.0)
    angle, scale = torch.deg2rad(draw[1] * ROTATION), 1 + draw[2] * SCALE
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [flip * cos, -flip * sin, draw[3] * 2 * SHIFT, sin, cos, draw[4] * 2 * SHIFT]
    warped = warp(images, torch.stack(rows, dim=1).view(n, 2, 3))
    contrast = 1 + draw[5].view(-1, 1, 1, 1) * CONTRAST
    # Black stays black: contrast and brightness scale the distance from it.
    intensity = (warped + 1) * contrast * (1 + draw[6].view(-1, 1, 1, 1) * BRIGHTNESS)
    return (intensity - 1).clamp(-1, 1)


def augment_trivially(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158), with the wide ranges.

    float (n, C, H, W) in [-1, 1], rounded to 8 bits; each image gets one operation, drawn from its
    own seed.
    """
    from torchvision.transforms.v2 import TrivialAugmentWide

    transform = TrivialAugmentWide()
    levels = torch.as_tensor(to_uint8(images)).permute(0, 3, 1, 2)
    made = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(levels, seeds, strict=True):
            torch.manual_seed(seed)
            made.append(transform(image))
    return to_float(torch.stack(made).permute(0, 2, 3, 1)).to(images.device)
