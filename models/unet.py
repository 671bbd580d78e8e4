"""The diffusion U-Nets, built from diffusers."""

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler, UNet2DModel

TIMESTEPS = 1000  # Ho et al. 2020, arXiv 2006.11239


def seeded_unet(
    size: int,
    channels: int,
    widths: Sequence[int],
    layers: int,
    attention: Sequence[int],
    seed: int,
) -> UNet2DModel:
    """A fresh U-Net; `attention` numbers the resolutions (0 = full) that attend to all pixels.

    `widths=(128, 128, 256, 256, 512, 512), layers=2, attention=(4,)` is the paper's.
    """
    down = ["AttnDownBlock2D" if i in attention else "DownBlock2D" for i in range(len(widths))]
    up = ["AttnUpBlock2D" if i in attention else "UpBlock2D" for i in range(len(widths))][::-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=layers,
            block_out_channels=tuple(widths),
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            norm_num_groups=min(32, *widths),
        )


def noise_schedule(prediction: str) -> DDPMScheduler:
    """Linear betas 1e-4 … 0.02 over 1000 steps; `prediction` is what the network predicts."""
    return DDPMScheduler(num_train_timesteps=TIMESTEPS, prediction_type=prediction)
