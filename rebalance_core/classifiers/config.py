"""The classifier's config."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rebalance_core.classifiers.recipe import Augmentation
from rebalance_core.config import Config, Precision


def _read_earlier_name(value: Any) -> Any:
    """Read the value that versions up to 0.1 wrote for "if-available"."""
    return "if-available" if value == "if at hand" else value


Pretrained = Annotated[Literal["no", "if-available"], BeforeValidator(_read_earlier_name)]


class ClassifierConfig(Config):
    """The classifier that every arm trains. The defaults are the paper's (section 5.4)."""

    size: int = Field(default=128, ge=16, le=512)  # px (section 4)
    epochs: int = Field(default=30, ge=1, le=10_000)  # (5.4)
    lr: float = Field(default=0.001, gt=0)  # SGD (5.4)
    # what is equal across arms: epochs (5.4), or updates: of `epochs` epochs of a balanced set
    budget: Literal["epochs", "updates"] = "epochs"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # (5.4)
    cosine: bool = False  # cosine learning rate schedule, to zero
    batch_size: int = Field(default=32, ge=2, le=65_536)  # images (not stated)
    augmentation: Augmentation = "none"  # of every arm's images (5.4: none)
    # torchvision's name of a classifier (5.4), resnet18_3x3 for small images, or module:function
    network: str = Field(default="resnet18", pattern=r"^(\w+|[\w.]+:\w+)$")
    pretrained: Pretrained = "no"  # ImageNet weights of the workspace (5.4: none)
    precision: Precision = "fp32"  # (the framework's default)
