"""The comparison's configs and the paper's reported figures."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rebalance_core.config import Config, EachOnce, Precision, Seed

BASELINE = "none"
ArmName = Literal["none", "bagan-gp", "ddpm"]
ARMS: tuple[ArmName, ...] = ("none", "bagan-gp", "ddpm")

# Best validation accuracy in percent, paper section 5.4 (Figures 2, 5, 6, 7).
PAPER_ACCURACY = {
    (BASELINE, "always"): 88.875,
    ("bagan-gp", "always"): 88.7097,
    ("ddpm", "always"): 86.3710,
    ("bagan-gp", "until"): 88.3468,
    ("ddpm", "until"): 85.4234,
    ("bagan-gp", "real-every"): 87.9839,
    ("ddpm", "real-every"): 87.1976,
}


class ClassifierConfig(Config):
    """ResNet-18, untrained. The defaults are the paper's (section 5.4)."""

    size: int = Field(default=128, ge=16, le=512)  # px (section 4)
    epochs: int = Field(default=30, ge=1)  # (5.4)
    lr: float = Field(default=0.001, gt=0)  # SGD (5.4)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # (5.4)
    cosine: bool = False  # the learning rate falls to zero as half a cosine
    batch_size: int = Field(default=32, ge=2)  # images (not said)
    precision: Precision = "auto"


class CompareConfig(Config):
    """Arms × schedules × seeds on one training set. The defaults are the paper's."""

    preset: str = "paper"
    set: str
    arms: Annotated[tuple[ArmName, ...], EachOnce] = ARMS
    schedules: tuple[str, ...] = ("always", "until:10", "real-every:4")  # Figures 5, 6, 7
    amount: str = "1000"  # images a minority class, or a fraction of balance such as 1.0 (5.1, 5.3)
    cap: int | None = Field(default=None, ge=1)  # at most so many synthetic images in an arm
    seeds: Annotated[tuple[Seed, ...], EachOnce] = Field(default=(0,), min_length=1)
    # arm → synthetic set; an arm left out takes the newest that fits
    synthetic: dict[str, str] = Field(default_factory=dict)
    classifier: ClassifierConfig = ClassifierConfig()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "amount": "1.0", "cap": 300, "schedules": ("always", "until:4", "real-every:4"),
            "classifier": {
                "size": 32, "epochs": 8, "lr": 0.01, "cosine": True, "batch_size": 64,
                "precision": "fp32",
            },
        },
        "small": {
            "amount": "1.0", "classifier": {"size": 64, "epochs": 20, "lr": 0.01},
        },
        "paper": {},
        "strong": {
            "amount": "0.5", "schedules": ("always", "until:20", "real-every:4"),
            "classifier": {"size": 128, "epochs": 40, "lr": 0.02, "cosine": True},
        },
    }  # fmt: skip
