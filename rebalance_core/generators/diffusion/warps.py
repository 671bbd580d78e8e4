"""Non-leaking augmentation (Karras et al. 2022, arXiv 2206.00364, appendix F.2).

The model is conditioned on the augmentation, so that its samples do not show it.
"""

import torch
from torch import Tensor

from models.unet import AUGMENT_DIM
from rebalance_core.imaging.affine import warp

ZOOM, TURN, SHIFT = 0.1, 0.15, 0.06  # standard deviations: log2 of a factor, radians, of the side


def draw_warps(n: int, probability: float, random: torch.Generator) -> Tensor:
    """Augmentation parameters (n, AUGMENT_DIM): flip (0 or 1), zoom, rotation, shift in x and y.

    All but the flip are in standard deviations; each of the four is 0 except with `probability`.
    """
    is_applied = torch.rand((n, 4), generator=random) < probability
    flips = is_applied[:, :1].float()
    amounts = torch.randn((n, AUGMENT_DIM - 1), generator=random)
    return torch.cat([flips, amounts * is_applied[:, [1, 2, 3, 3]]], dim=1)


def warp_images(images: Tensor, warps: Tensor) -> Tensor:
    """Images, float (n, C, H, W), transformed by `warps` (n, AUGMENT_DIM), with border padding.

    Images whose warp is all zeros are returned bitwise unchanged.
    """
    is_warped = warps.any(dim=1)
    if not is_warped.any():
        return images
    flips, zoom, turn, *shift = warps[is_warped].to(images.device).unbind(dim=1)
    scale = torch.exp2(-ZOOM * zoom)  # `warp` takes the inverse map
    cos, sin = torch.cos(TURN * turn) * scale, torch.sin(TURN * turn) * scale
    across, down = (-2 * SHIFT * s for s in shift)
    flip = 1 - 2 * flips
    matrices = torch.stack(
        [
            torch.stack([cos * flip, sin * flip, across], dim=1),
            torch.stack([-sin, cos, down], dim=1),
        ],
        dim=1,
    )
    warped = images.clone()
    warped[is_warped] = warp(images[is_warped], matrices)
    return warped
