"""The config of SMOTE."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from rebalance_core.config import Config, Precision, Seed


class SmoteConfig(Config):
    """SMOTE (Chawla et al. 2002, arXiv 1106.1813) of each minority class.

    The space `pixels` needs no training; for `features`, a ResNet-18 is trained first with the
    defaults of the comparison.
    """

    preset: str = "paper"
    size: int = Field(default=128, ge=16, le=512)  # px (as the DDPM's)
    neighbours: int = Field(default=5, ge=1, le=1000)  # nearest ones in the class (4.2 there)
    # of the distances: pixels (as in the paper), or the 512 features of a ResNet-18
    space: Literal["pixels", "features"] = "pixels"
    epochs: int = Field(default=30, ge=1, le=10_000)  # of that ResNet-18 (5.4)
    lr: float = Field(default=0.001, gt=0, allow_inf_nan=False)  # of its SGD (5.4)
    precision: Precision = "auto"  # of its training
    seed: Seed = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"size": 32, "epochs": 8, "lr": 0.01, "precision": "fp32"},
        "small": {"size": 64, "epochs": 20, "lr": 0.01},
        "paper": {},
        "strong": {"epochs": 40, "lr": 0.02},
    }
