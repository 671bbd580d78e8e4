"""The diffusion U-Nets, built from diffusers, and the condition embedding of one of them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from models.unet_shape import UNetShape

TIMESTEPS = 1000  # Ho et al. 2020, arXiv 2006.11239
BETA_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
AUGMENT_DIM = 5  # numbers per augment label (generators/diffusion/augmentation.py)


def seeded_unet(shape: UNetShape, seed: int, *, conditional: bool = False) -> UNet2DModel:
    """Initialise a U-Net from `seed`, without touching the global random state.

    A conditional one takes `class_labels`, float (n, `shape.condition_dim`), and adds them to the
    timestep embedding.
    """
    has_attention = [level in shape.attention for level in range(len(shape.widths))]
    down = ["AttnDownBlock2D" if attn else "DownBlock2D" for attn in has_attention]
    up = ["AttnUpBlock2D" if attn else "UpBlock2D" for attn in reversed(has_attention)]
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
            # With conditions, adaptive group normalisation: the embedding scales and shifts
            # (Dhariwal and Nichol 2021, arXiv 2105.05233, section 4.2); otherwise it only shifts.
            resnet_time_scale_shift="scale_shift" if conditional else "default",
            class_embed_type="identity" if conditional else None,
            time_embedding_dim=shape.condition_dim if conditional else None,
        )


def norm_groups(widths: Sequence[int]) -> int:
    """Number of groups of every GroupNorm: at most 32, as in the paper's U-Net, and at least four
    channels per group. With one channel per group, GroupNorm cancels the timestep embedding."""
    return max(
        g
        for g in range(1, 33)
        if all(w % g == 0 for w in widths) and (g == 1 or 4 * g <= widths[0])
    )


class ConditionEmbedding(nn.Module):
    """Sum of the embeddings of class, pose and augment label, added to the timestep embedding.

    Label `classes` and pose `poses` are the null conditions of classifier-free guidance. An augment
    label of zeros is an image as it is (Karras et al. 2022, arXiv 2206.00364, appendix F.2).
    """

    def __init__(self, classes: int, poses: int, dim: int) -> None:
        super().__init__()
        self.classes, self.poses = classes, poses
        self.label = nn.Embedding(classes + 1, dim)
        self.pose = nn.Embedding(poses + 1, dim)
        self.warp = nn.Linear(AUGMENT_DIM, dim, bias=False)
        nn.init.zeros_(self.warp.weight)

    def forward(self, labels: Tensor, poses: Tensor, augment_labels: Tensor) -> Tensor:
        """Labels int64 (n,), poses int64 (n,), float (n, AUGMENT_DIM) → (n, dim)."""
        embedding: Tensor = self.label(labels) + self.pose(poses) + self.warp(augment_labels)
        return embedding


class ConditionalUNet(nn.Module):
    """One U-Net over all classes. Pixel unshuffling by `unshuffle` r moves r × r pixels into
    channels, so that it works at 1/r of the side (Hoogeboom et al. 2023, arXiv 2301.11093,
    section 3)."""

    def __init__(self, unet: UNet2DModel, conditions: ConditionEmbedding, unshuffle: int) -> None:
        super().__init__()
        self.unet, self.conditions, self.unshuffle = unet, conditions, unshuffle

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def size(self) -> int:
        """Side of the images, px."""
        return int(self.unet.config.sample_size) * self.unshuffle

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return int(self.unet.config.in_channels) // self.unshuffle**2

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        labels: Tensor,
        poses: Tensor,
        augment_labels: Tensor,
    ) -> Tensor:
        """Noisy images (n, C, H, W), timesteps (n,) or () and conditions → prediction (n, C, H, W):
        of the noise or the velocity."""
        embedding = self.conditions(labels, poses, augment_labels)
        x = F.pixel_unshuffle(noisy, self.unshuffle)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.unet(x, timesteps, embedding).sample, self.unshuffle)


def seeded_conditional_unet(
    shape: UNetShape, seed: int, *, unshuffle: int, classes: int, poses: int
) -> ConditionalUNet:
    """Initialise a conditional U-Net from `seed`; `shape` has the size and channels of the images,
    before unshuffling."""
    unet = seeded_unet(shape.unshuffled(unshuffle), seed, conditional=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        conditions = ConditionEmbedding(classes, poses, shape.condition_dim)
    return ConditionalUNet(unet, conditions, unshuffle)


def noise_schedule(prediction: str, betas: str = "linear") -> DDPMScheduler:
    """The noise schedule of 1000 steps: β linear from 1e-4 to 0.02 (Ho et al. 2020) or ᾱ along a
    cosine (Nichol and Dhariwal 2021, arXiv 2102.09672). `prediction` is epsilon or v_prediction."""
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        prediction_type=prediction,
        beta_schedule=BETA_SCHEDULES[betas],
    )
