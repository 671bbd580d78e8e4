"""How a dataset is clustered by pose."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from rebalance_core.config import Config, DatasetRef, Precision, Reference, Seed, SetRef
from rebalance_core.poses.extractors import ExtractorChoice


def _check_k(k: object) -> object:
    if k in ("auto", "per-class") or (type(k) is int and k >= 1):
        return k
    raise ValueError("use auto, per-class or a number from 1")


K = Annotated[int | str, BeforeValidator(_check_k)]


class PosesConfig(Config):
    """Features, PCA and K-means of one clustering."""

    dataset: Annotated[DatasetRef, Reference("poses", creates=True)]
    set: SetRef | None = None  # fit on its training images only, instead of all of the dataset
    extractor: ExtractorChoice = "auto"  # auto: vgg16 (3.1) if its weights are available, else hog
    k: K = "auto"  # clusters per class; auto: one k from the mean elbow curve (5.2)
    components: int = Field(default=50, ge=1, le=1000)  # maximum number of PCA components
    variance: float | None = Field(default=None, gt=0, lt=1)  # fraction to keep, instead
    restarts: int = Field(default=10, ge=1, le=100)  # of K-means; the lowest inertia wins
    precision: Precision = "auto"  # of the feature extractor
    discard_corrections: bool = False  # cluster again even if that loses manual corrections
    seed: Seed = 0
