"""The config of SMOTE."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from rebalance_core.config import Config, Precision, Seed


class SmoteConfig(Config):
    """SMOTE (Chawla et al. 2002, arXiv 1106.1813) of each minority class. Learns nothing in
    `pixels`; for `features` a ResNet-18 is trained first, with the comparison's defaults."""

    preset: str = "paper"
    size: int = Field(default=128, ge=16, le=512)  # px (as the DDPM's)
    neighbours: int = Field(default=5, ge=1, le=1000)  # of its class, of each image (their 4.2)
    space: Literal["pixels", "features"] = "pixels"  # what is near: pixels (theirs), or a
    # ResNet-18's 512 features
    epochs: int = Field(default=30, ge=1)  # of that ResNet-18 (5.4)
    lr: float = Field(default=0.001, gt=0, allow_inf_nan=False)  # of it, SGD (5.4)
    precision: Precision = "auto"  # of it
    seed: Seed = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"size": 32, "epochs": 8, "lr": 0.01, "precision": "fp32"},
        "small": {"size": 64, "epochs": 20, "lr": 0.01},
        "paper": {},
        "strong": {"epochs": 40, "lr": 0.02},
    }
