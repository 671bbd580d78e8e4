"""The config of BAGAN-GP; apart from the trainer, so that pages need no torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from rebalance_core.config import Config, Precision, Seed

# BAGAN-GP's quirks mended: what every preset but `paper` uses.
MENDED: Mapping[str, Any] = {
    "interpolation": "uniform",
    "wrong_labels": "other",
    "fake_labels": "batch",
}
# What made rare classes better on the phantom (docs/results/bagan-gp.md).
STRONGER: Mapping[str, Any] = {"balanced": True, "discriminator_start": "encoder", "ema": 0.99}


class BaganConfig(Config):
    """BAGAN-GP. The defaults are the paper's (section 5.1) and the original implementation's."""

    preset: str = "paper"
    size: Literal[32, 64, 128, 256] = 64  # px (5.1)
    autoencoder_epochs: int = Field(default=60, ge=1)  # (5.1)
    autoencoder_lr: float = Field(default=0.002, gt=0)  # Adam (5.1)
    epochs: int = Field(default=100, ge=1)  # adversarial: 50 learning steps of two epochs (5.1)
    autoencoder_steps: int | None = Field(default=None, ge=1)  # batches, instead of its epochs
    steps: int | None = Field(default=None, ge=1)  # generator updates, instead of epochs
    lr: float = Field(default=0.0002, gt=0)  # Adam, generator and discriminator (5.1)
    beta1: float = Field(default=0.5, ge=0, lt=1)  # Adam (5.1)
    beta2: float = Field(default=0.9, ge=0, lt=1)  # Adam (5.1)
    batch_size: int = Field(default=128, ge=2)  # images (original)
    discriminator_updates: int = Field(default=5, ge=1)  # per generator update (original)
    penalty: float = Field(default=10.0, ge=0)  # weight of the gradient penalty (original)
    interpolation: Literal["normal", "uniform"] = "normal"  # penalty's factor; original: N(0, 1)
    wrong_labels: Literal["any", "other"] = "any"  # original: any class, so right 1/K of the time
    fake_labels: Literal["uniform", "batch"] = "uniform"  # original: uniform over the classes
    discriminator_start: Literal["fresh", "encoder"] = "fresh"  # original: fresh
    balanced: bool = False  # adversarial batches with each class as often as any other
    augment: Literal["none", "diffaugment"] = "none"  # of real and fake alike, arXiv 2006.10738
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of the generator's average; 0: none
    autoencoder_looks: int = Field(default=60, ge=1)  # validations, one an epoch
    looks: int = Field(default=50, ge=1)  # validations, one a learning step (5.1)
    precision: Precision = "auto"
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
            **MENDED,
            **STRONGER,
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
            **MENDED,
            **STRONGER,
        },
        "paper": {},
        "strong": {"epochs": 200, "discriminator_updates": 2, **MENDED, **STRONGER},
    }
