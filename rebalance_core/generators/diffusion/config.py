"""Configs of the diffusion models, without torch, so that pages can import them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.unet_shape import UNetShape
from rebalance_core.config import Config, Precision, Seed

# Evaluation of a diffusion model during training.
EVALUATIONS = 20  # validations and previews
VALIDATION_LEVELS = 4  # fixed noise levels of each validation image
VALIDATION_IMAGES = 16  # per class
PREVIEW_SAMPLER, PREVIEW_STEPS, PREVIEWS = "dpm-solver++", 15, 8  # PREVIEWS: per row
Sampler = Literal["ddpm", "ddim", "dpm-solver++", "unipc"]
# Published after the DDPM of the study; in every preset of the conditional model but `paper`.
MODERN_DEFAULTS: Mapping[str, Any] = {
    "prediction": "v_prediction",
    "schedule": "cosine",
    "ema": 0.999,
    "warp": 0.15,
    "sampler": "dpm-solver++",
    "sampler_steps": 20,
    "precision": "auto",
}


class DiffusionConfig(Config):
    """Fields of both diffusion models. The defaults are the paper's (sections 3.2, 5.3)."""

    preset: str = "paper"
    size: int = Field(default=128, ge=8, le=512, multiple_of=8)  # px (not stated; see the docs)
    # channels per resolution (tutorial)
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(128, 128, 256, 256, 512, 512), min_length=1, max_length=8
    )
    layers: int = Field(default=2, ge=1, le=16)  # residual blocks per resolution (tutorial)
    # resolutions with self-attention, 0 = full (3.2)
    attention: tuple[int, ...] = Field(default=(4,), max_length=8)
    # the noise (3.2), or the velocity (arXiv 2202.00512), which needs fewer steps and updates
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    schedule: Literal["linear", "cosine"] = "linear"  # of the betas (3.2; arXiv 2102.09672)
    min_snr: float | None = Field(default=None, gt=0)  # γ of min-SNR weighting, arXiv 2303.09556
    lr: float = Field(default=0.001, gt=0)  # Adam (5.3)
    warmup_steps: int = Field(default=500, ge=0)  # (5.3), then cosine to zero
    batch_size: int = Field(default=16, ge=1, le=65_536)  # images per batch (5.3)
    accumulation: int = Field(default=1, ge=1, le=1024)  # batches per update
    epochs: int = Field(default=50, ge=1, le=1_000_000)  # (5.3)
    steps: int | None = Field(default=None, ge=1, le=10**9)  # updates per model, instead of epochs
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of the weights' EMA; 0: none
    sampler: Sampler = "ddpm"  # (3.2)
    sampler_steps: int = Field(default=1000, ge=1, le=1000)
    precision: Precision = "fp32"  # (tutorial, by default)
    seed: Seed = 0

    def unet_shape(self, channels: int) -> UNetShape:
        """The shape of the U-Net for images of `channels` channels."""
        return UNetShape(self.size, channels, self.widths, self.layers, self.attention)


class DdpmConfig(DiffusionConfig):
    """One DDPM per minority class. The defaults are the paper's (sections 3.2, 5.3)."""

    classes: tuple[str, ...] = ()  # empty: every minority class (5.3)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "size": 32,
            "widths": (16, 32, 64),
            "layers": 1,
            "attention": (2,),
            "steps": 100,
            "warmup_steps": 10,
            "batch_size": 16,
            "lr": 0.003,
            "prediction": "v_prediction",
            "sampler": "dpm-solver++",
            "sampler_steps": 20,
            "precision": "fp32",
        },
        "small": {
            "size": 64,
            "widths": (32, 64, 96, 128),
            "layers": 1,
            "attention": (3,),
            "steps": 1200,
            "warmup_steps": 100,
            "batch_size": 16,
            "prediction": "v_prediction",
            "sampler": "dpm-solver++",
            "sampler_steps": 20,
            "precision": "auto",
        },
        "paper": {},
        "strong": {
            "epochs": 200,
            "precision": "auto",
            "lr": 2e-4,
            "prediction": "v_prediction",
            "ema": 0.999,
            "sampler": "dpm-solver++",
            "sampler_steps": 25,
        },
    }


class ConditionalDdpmConfig(DiffusionConfig):
    """One class-conditional diffusion model with classifier-free guidance.

    The study has no such model; preset `paper` adds only the condition to the study's DDPM.
    """

    unshuffle: Literal[1, 2, 4] = 1  # factor of the pixel unshuffle
    balanced: bool = True  # class-balanced batches
    drop: float = Field(default=0.1, ge=0, lt=1)  # conditioning dropout, arXiv 2207.12598
    guidance: float = Field(default=1.0, ge=0, le=20)  # scale g of sampling; 1: none
    poses: bool = False  # condition on the poses too, if the dataset is clustered
    # probability of each augmentation (flip, rotation, zoom, shift), on which the model is
    # conditioned, so that samples do not show them (arXiv 2206.00364)
    warp: float = Field(default=0.0, ge=0, le=1)
    cbdm: float = Field(default=0.0, ge=0)  # τ of CBDM, arXiv 2305.00562 (1 there)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **MODERN_DEFAULTS,
            "size": 32,
            "unshuffle": 2,
            "widths": (64, 128),
            "layers": 1,
            "attention": (1,),
            "steps": 300,
            "warmup_steps": 20,
            "batch_size": 32,
            "lr": 0.002,
            "ema": 0.98,
            "guidance": 1.5,
            "precision": "fp32",
        },
        "small": {
            **MODERN_DEFAULTS,
            "size": 64,
            "unshuffle": 2,
            "widths": (32, 96, 128),
            "layers": 1,
            "attention": (2,),
            "steps": 5500,
            "warmup_steps": 200,
            "batch_size": 16,
            "lr": 0.001,
            "guidance": 2.0,
        },
        "paper": {},
        "strong": {
            **MODERN_DEFAULTS,
            "widths": (128, 256, 256, 512),
            "unshuffle": 2,
            "attention": (2, 3),
            "epochs": 400,
            "lr": 2e-4,
            "batch_size": 32,
            "ema": 0.9999,
            "min_snr": 5.0,
            "guidance": 1.5,
            "sampler_steps": 25,
        },
    }

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        divisor = self.unshuffle * 2 ** (len(self.widths) - 1)
        if self.size % divisor:
            raise ValueError(
                f"size must be a multiple of {divisor} px for {len(self.widths)} widths and "
                f"unshuffle={self.unshuffle}"
            )
        return self
