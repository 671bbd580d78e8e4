"""Images of the clusters as arrays (Figure 1 of the study)."""

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.poses.clustering import PoseClustering

SHOWN_SIZE = 64  # px of an image in a grid


def images_of(dataset: Dataset, ids: list[str], size: int = SHOWN_SIZE) -> np.ndarray:
    """Images by id: uint8 (n, size, size, C)."""
    rows = [dataset.rows[image] for image in ids]
    return np.asarray(dataset.array(size)[rows])


def cluster_rows(
    dataset: Dataset, clustering: PoseClustering, label: str, count: int, *, farthest: bool = False
) -> dict[str, np.ndarray]:
    """{pose: the class's images nearest to the centre (or farthest), uint8 (n, H, W, C)}: the
    study's Figure 1."""
    return {
        pose: images_of(dataset, ids)
        for pose, ids in cluster_images(clustering, label, count, farthest=farthest).items()
    }


def cluster_images(
    clustering: PoseClustering, label: str, count: int, *, farthest: bool = False
) -> dict[str, list[str]]:
    """{pose: ids of the class's images nearest to the centre (or farthest)}."""
    table = clustering.training
    poses = sorted(set(table.loc[table["class"] == label, "pose"]))
    return {p: clustering.nearest(label, p, count, farthest=farthest) for p in poses}
