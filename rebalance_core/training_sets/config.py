"""The config of a training set: dataset, split, skew, poses."""

from typing import Final, Literal

from pydantic import Field

from rebalance_core.config import Config, DatasetRef, Seed
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.imaging.grid import Fit
from rebalance_core.training_sets.splits import SplitName

NO_SKEW = "as it is"
NO_SKEW_ALIASES = (NO_SKEW, "as-it-is", "as-is", "none")
Part = Literal["train", "validation", "test"]
RESERVED: Final = ("A", "B", "C", "D")  # names of reserved parts of the test images
OPEN: Final = "open"  # the part that is not reserved
TestPart = Literal["open", "A", "B", "C", "D"]


class SetConfig(Config):
    """How a training set is selected from a dataset.

    Split, skew, poses and limit apply in this order, each to what the former left. The order in
    which images of a class are drawn depends on none of them, so that sets nest.
    """

    dataset: DatasetRef
    split: SplitName = "official"
    difference: float = Field(default=DEFAULT_DIFFERENCE, ge=0, le=MAX_DIFFERENCE)  # maximum
    # difference of near-duplicates in split clean, as a share of contrast
    distinct: bool = False  # in training, one image of each near-duplicate group
    # as it is (or none) | step:20 | long:50 | step:20@notumor | glioma=80,pituitary=40
    skew: str = NO_SKEW
    # skewed: validation images are reduced in the same proportion as training images
    validation_skew: Literal["skewed", "whole"] = "skewed"
    poses: tuple[str, ...] = ()  # of training and validation images; empty: all
    limit: int | None = Field(
        default=None, ge=2
    )  # maximum number of training images, class by class in proportion
    validation: float = Field(default=0.15, gt=0, lt=0.9)  # share of the training images
    fit: Fit = "pad"  # resize mode
    seed: Seed = 0
    # parts of the test images that a comparison has to name before it evaluates on them
    reserve: int = Field(default=0, ge=0, le=len(RESERVED))
    test_seed: Seed = 0  # of the test images, where the dataset has no test split; of reserved ones
