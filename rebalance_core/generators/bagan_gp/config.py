"""The config of BAGAN-GP, without torch, so that pages can import it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from rebalance_core.config import Config, Precision, Seed

# Corrections of the original's quirks, in every preset but `paper`.
FIXED_QUIRKS: Mapping[str, Any] = {
    "interpolation": "uniform",
    "wrong_labels": "other",
    "fake_labels": "batch",
    "batch_norm": "torch",
    "adam_eps": 1e-8,
    "precision": "auto",
}
# Improvements for rare classes on the phantom (docs/results/bagan-gp.md).
RARE_CLASS_TUNING: Mapping[str, Any] = {
    "balanced": True,
    "discriminator_start": "encoder",
    "ema": 0.99,
}


class BaganConfig(Config):
    """BAGAN-GP. The defaults are the paper's (section 5.1) and the original implementation's."""

    preset: str = "paper"
    size: Literal[32, 64, 128, 256] = 64  # px (5.1)
    autoencoder_epochs: int = Field(default=60, ge=1, le=1_000_000)  # (5.1)
    autoencoder_lr: float = Field(default=0.002, gt=0)  # Adam (5.1)
    # adversarial: 50 learning steps of two epochs (5.1)
    epochs: int = Field(default=100, ge=1, le=1_000_000)
    # updates, instead of its epochs
    autoencoder_steps: int | None = Field(default=None, ge=1, le=10**9)
    steps: int | None = Field(default=None, ge=1, le=10**9)  # generator updates, instead of epochs
    lr: float = Field(default=0.0002, gt=0)  # Adam, generator and discriminator (5.1)
    beta1: float = Field(default=0.5, ge=0, lt=1)  # Adam (5.1)
    beta2: float = Field(default=0.9, ge=0, lt=1)  # Adam (5.1)
    adam_eps: float = Field(default=1e-7, gt=0, lt=1)  # (original: that of Keras)
    # eps and momentum of batch norm: 0.001 and 0.01 (original: Keras), or 0.00001 and 0.1
    batch_norm: Literal["keras", "torch"] = "keras"
    batch_size: int = Field(default=128, ge=2, le=65_536)  # images (original)
    discriminator_updates: int = Field(default=5, ge=1, le=1000)  # per generator update (original)
    penalty: float = Field(default=10.0, ge=0)  # weight of the gradient penalty (original)
    interpolation: Literal["normal", "uniform"] = "normal"  # of the penalty; original: N(0, 1)
    wrong_labels: Literal["any", "other"] = "any"  # original: any class, correct in 1/K
    fake_labels: Literal["uniform", "batch"] = "uniform"  # original: uniform over the classes
    discriminator_start: Literal["fresh", "encoder"] = "fresh"  # original: fresh
    balanced: bool = False  # class-balanced adversarial batches
    augment: Literal["none", "diffaugment"] = "none"  # of real and fake images, arXiv 2006.10738
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of the generator's EMA; 0: none
    autoencoder_looks: int = Field(default=60, ge=1)  # evaluations, one per epoch
    looks: int = Field(default=50, ge=1)  # evaluations, one per learning step (5.1)
    precision: Precision = "fp32"  # (original)
    seed: Seed = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "size": 32,
            "autoencoder_steps": 150,
            "steps": 150,
            "batch_size": 64,
            "lr": 0.0005,
            "autoencoder_lr": 0.001,
            "discriminator_updates": 2,
            "autoencoder_looks": 10,
            "looks": 10,
            **FIXED_QUIRKS,
            **RARE_CLASS_TUNING,
        },
        "small": {
            "size": 64,
            "autoencoder_steps": 400,
            "steps": 2000,
            "batch_size": 64,
            "lr": 0.0005,
            "discriminator_updates": 2,
            "autoencoder_looks": 20,
            "looks": 25,
            **FIXED_QUIRKS,
            **RARE_CLASS_TUNING,
        },
        "paper": {},
        "strong": {"epochs": 200, "discriminator_updates": 2, **FIXED_QUIRKS, **RARE_CLASS_TUNING},
    }
