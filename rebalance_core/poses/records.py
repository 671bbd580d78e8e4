"""The stored clustering, validated when it is read: anybody may have edited the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rebalance_core.config import STRICT, read_model
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.extractors import ExtractorName

if TYPE_CHECKING:
    import pandas as pd

AXES = ("x", "y", "z")  # the first principal components, for plots
TEXT_COLUMNS = ("image", "class", "pose", "split")
NUMBER_COLUMNS = ("cluster", "distance", *AXES)
MAX_NAME_LENGTH = 64  # of a pose, in characters

K = Annotated[int, Field(ge=1, lt=2**31)]
Inertia = Annotated[float, Field(ge=0)]
Score = Annotated[float, Field(ge=-1 - 1e-6, le=1 + 1e-6)]  # silhouette or Rand index


class _Record(BaseModel):
    model_config = ConfigDict(**STRICT, frozen=True)


class _StoredConfig(PosesConfig):
    """As PosesConfig, but fields of other versions are ignored."""

    model_config = ConfigDict(**STRICT, extra="ignore")


class Agreement(_Record):
    """Agreement between the poses and the true poses of training images.

    `classes`: adjusted Rand index (Hubert and Arabie 1985) within each class; `all`: over all
    classes; `same_name`: fraction of images with the most frequent pose of their true pose.
    """

    classes: dict[str, Score]
    all: Score
    same_name: Annotated[float, Field(ge=0, le=1)]


class Curves(_Record):
    """Inertia and mean silhouette of each class over k = `tried`, and the elbows of the curves.

    `elbow` is that of the mean curve over all classes; None where a curve has no elbow.
    """

    tried: Annotated[list[K], Field(min_length=1)]
    inertia: dict[str, list[Inertia]]
    silhouettes: dict[str, list[Score | None]]
    elbows: dict[str, K | None]
    elbow: K | None

    @model_validator(mode="after")
    def _check_lengths(self) -> "Curves":
        for name in ("inertia", "silhouettes"):
            for curve in getattr(self, name).values():
                if len(curve) != len(self.tried):
                    raise ValueError(f"a curve of {name} does not have one value per k")
        return self


class FeatureSpace(Curves):
    """The principal components in which classes are clustered, independent of k."""

    config: _StoredConfig
    extractor: ExtractorName
    variance_kept: Annotated[float, Field(ge=0, le=1.01)]  # by PCA, in float32


class ClusteringRecord(FeatureSpace):
    """`clustering.json`: one version of a dataset's poses, without the assignments."""

    k: K | None  # of every class; None where classes differ
    ks: Annotated[dict[str, K], Field(min_length=1)]
    silhouette: dict[str, Score | None]  # at the k of each class
    stability: dict[str, Score | None]  # mean adjusted Rand index over pairs of restarts
    agreement: Agreement | None = None  # None without true poses
    corrections: list[str] = []  # manual, oldest first
    fitted_on: list[str] | None = None  # images; None: the dataset's training split

    @model_validator(mode="after")
    def _check_classes(self) -> "ClusteringRecord":
        for name in ("inertia", "silhouettes", "elbows", "silhouette", "stability"):
            if getattr(self, name).keys() != self.ks.keys():
                raise ValueError(f"the classes of {name} are not those of ks")
        if self.fitted_on is not None and not self.fitted_on:
            raise ValueError("fitted_on lists no image")
        if self.k != common_k(self.ks):
            raise ValueError("k is not that of all classes")
        return self


def common_k(ks: dict[str, int]) -> int | None:
    """The number of clusters of every class; None where classes differ."""
    values = set(ks.values())
    return values.pop() if len(values) == 1 else None


def is_pose_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME_LENGTH and "," not in name and name.isprintable()


def read_record(version: Path, dataset: Dataset) -> ClusteringRecord:
    """`clustering.json` of a version; raises UserError where it is damaged or does not fit."""
    path = version / "clustering.json"
    record = read_model(ClusteringRecord, path, _remedy(dataset))
    if sorted(record.ks) != dataset.classes:
        raise _damaged(path, "its classes are not those of the dataset", dataset)
    if not set(record.fitted_on or ()) <= dataset.rows.keys():
        raise _damaged(path, "it was fitted on images that the dataset does not have", dataset)
    if max(record.ks.values()) > len(dataset.catalogue):
        raise _damaged(path, "it has more clusters than there are images", dataset)
    return record


def read_assignments(version: Path, dataset: Dataset, ks: Mapping[str, int]) -> "pd.DataFrame":
    """`assignments.csv` of a version: one row per image, in the order of the catalogue.

    Raises UserError where it is unreadable or does not fit the dataset and its clusters.
    """
    import pandas as pd

    path = version / "assignments.csv"
    types: dict[str, Any] = dict.fromkeys(TEXT_COLUMNS, str)
    try:
        table = pd.read_csv(
            path,
            dtype=types,
            keep_default_na=False,
            lineterminator="\n",  # an image's name may contain a carriage return
            usecols=[*TEXT_COLUMNS, *NUMBER_COLUMNS],
        )
    except (OSError, ValueError) as error:  # ParserError is a ValueError
        raise _damaged(path, "it is not a readable table", dataset) from error
    for name in ("image", "class", "split"):
        if table[name].tolist() != dataset.catalogue[name].tolist():
            raise _damaged(path, f"column {name} is not that of the dataset", dataset)
    for name in NUMBER_COLUMNS:
        if table[name].dtype.kind not in "if" or not np.isfinite(table[name]).all():
            raise _damaged(path, f"column {name} has values that are not numbers", dataset)
    clusters, limits = table["cluster"], table["class"].map(dict(ks))
    if clusters.dtype.kind != "i" or not clusters.between(0, limits - 1).all():
        raise _damaged(path, "column cluster has values that are not clusters", dataset)
    if not all(map(is_pose_name, table["pose"].unique())):
        raise _damaged(path, "column pose has values that are not names of poses", dataset)
    return table


def read_points(version: Path, dataset: Dataset) -> np.ndarray:
    """`points.npy` of a version: all images in the principal components, float32 (n, components).

    Raises UserError where it is unreadable or does not fit the dataset.
    """
    path = version / "points.npy"
    try:
        # Memory-mapped: a header with too large a shape is rejected, not allocated.
        points: np.ndarray = np.load(path, mmap_mode="r")
        fits = points.dtype == np.float32 and points.ndim == 2
        fits = fits and points.shape[0] == len(dataset.catalogue) and np.isfinite(points).all()
    except Exception as error:  # NumPy raises anything over hostile bytes
        raise _damaged(path, "it cannot be read", dataset) from error
    if not fits:
        raise _damaged(path, "it does not have one row of numbers per image", dataset)
    return points


def _damaged(path: Path, reason: str, dataset: Dataset) -> UserError:
    return UserError(f"{path} is damaged ({reason}); {_remedy(dataset)}.")


def _remedy(dataset: Dataset) -> str:
    return (
        f"go back with `poses undo {dataset.name}`, or cluster again with "
        f"`poses cluster {dataset.name} --discard-corrections`"
    )
