"""The diffusion U-Nets, built from diffusers, and what tells one of them which image is wanted."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from models.unet_shape import UNetShape

TIMESTEPS = 1000  # Ho et al. 2020, arXiv 2006.11239
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
WARP = 5  # numbers per warp of a training image (generators/diffusion/warps.py)


def seeded_unet(shape: UNetShape, seed: int, *, conditional: bool = False) -> UNet2DModel:
    """A U-Net with freshly initialised weights.

    A conditional one takes `shape.condition_dim` numbers per image as `class_labels` and adds them
    to the timestep embedding.
    """
    attends = [level in shape.attention for level in range(len(shape.widths))]
    down = ["AttnDownBlock2D" if attention else "DownBlock2D" for attention in attends]
    up = ["AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(attends)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=shape.size,
            in_channels=shape.channels,
            out_channels=shape.channels,
            layers_per_block=shape.layers,
            block_out_channels=shape.widths,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            norm_num_groups=norm_groups(shape.widths),
            # A conditional embedding scales and shifts the blocks (adaptive group normalisation,
            # Dhariwal and Nichol 2021, arXiv 2105.05233, section 4.2); otherwise it only shifts.
            resnet_time_scale_shift="scale_shift" if conditional else "default",
            class_embed_type="identity" if conditional else None,
            time_embedding_dim=shape.condition_dim if conditional else None,
        )


def norm_groups(widths: Sequence[int]) -> int:
    """Groups of the group norms: 32 at most, four channels each at least, as in the paper's U-Net.
    A group of one channel would take away what its block was just told of the noise."""
    return max(
        g
        for g in range(1, 33)
        if all(w % g == 0 for w in widths) and (g == 1 or 4 * g <= widths[0])
    )


class Conditions(nn.Module):
    """(class, pose, warp) → what the U-Net adds to its timestep: (n, embedding).

    One class and one pose more than there are stand for "not said": what guidance moves away from.
    A warp of zeros is an image as it is (Karras et al. 2022, arXiv 2206.00364, appendix F.2).
    """

    def __init__(self, classes: int, poses: int, embedding: int) -> None:
        super().__init__()
        self.classes, self.poses = classes, poses
        self.label = nn.Embedding(classes + 1, embedding)
        self.pose = nn.Embedding(poses + 1, embedding)
        self.warp = nn.Linear(WARP, embedding, bias=False)
        nn.init.zeros_(self.warp.weight)

    def forward(self, labels: Tensor, poses: Tensor, warp: Tensor) -> Tensor:
        """int64 (n,), int64 (n,), float (n, WARP) → (n, embedding)."""
        told: Tensor = self.label(labels) + self.pose(poses) + self.warp(warp)
        return told


class ConditionalUNet(nn.Module):
    """One U-Net over all classes; `unshuffle` r folds r × r pixels into channels, so that it works
    at 1/r of the side (Hoogeboom et al. 2023, arXiv 2301.11093, section 3)."""

    def __init__(self, unet: UNet2DModel, conditions: Conditions, unshuffle: int) -> None:
        super().__init__()
        self.unet, self.conditions, self.unshuffle = unet, conditions, unshuffle

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def size(self) -> int:
        """px of its images."""
        return int(self.unet.config.sample_size) * self.unshuffle

    @property
    def channels(self) -> int:
        """Of its images."""
        return int(self.unet.config.in_channels) // self.unshuffle**2

    def forward(
        self, noisy: Tensor, timesteps: Tensor, labels: Tensor, poses: Tensor, warp: Tensor
    ) -> Tensor:
        """Noisy images (n, C, H, W), timesteps (n,) or one → what is predicted (n, C, H, W)."""
        told = self.conditions(labels, poses, warp)
        folded = F.pixel_unshuffle(noisy, self.unshuffle)
        folded = folded.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.unet(folded, timesteps, told).sample, self.unshuffle)


def seeded_conditional_unet(
    shape: UNetShape, seed: int, *, unshuffle: int, classes: int, poses: int
) -> ConditionalUNet:
    """A conditional U-Net with freshly initialised weights; `shape` is that of its images."""
    unet = seeded_unet(shape.unshuffled(unshuffle), seed, conditional=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        conditions = Conditions(classes, poses, shape.condition_dim)
    return ConditionalUNet(unet, conditions, unshuffle)


def noise_schedule(prediction: str, betas: str = "linear") -> DDPMScheduler:
    """1000 betas, from 1e-4 to 0.02 in a line (Ho et al. 2020) or along a cosine (Nichol and
    Dhariwal 2021, arXiv 2102.09672); `prediction` is what the network predicts."""
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS, prediction_type=prediction, beta_schedule=SCHEDULES[betas]
    )
