"""K-means per class in one feature space; the elbow picks k; clusters get names across classes.

Paper sections 3.1 and 5.2, with HOG features.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from rebalance_core.config import Config, Seed
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.files import read_json, replace_folder, write_json
from rebalance_core.poses.features import dataset_features
from rebalance_core.runs.run import Run, RunDirectory
from rebalance_core.workspace import Workspace

K_RANGE = range(1, 11)
NO_ELBOW = 3  # k where the curve has no elbow: the paper's


class PosesConfig(Config):
    dataset: str
    k: int | None = Field(default=None, ge=1, le=50)  # clusters a class; None: the elbow's (5.2)
    components: int = Field(default=50, ge=1)  # of the PCA, at most
    restarts: int = Field(default=10, ge=1)  # of K-means, the best kept
    seed: Seed = 0


@dataclass(frozen=True)
class PoseClustering:
    """What `cluster_poses` left in the dataset's folder."""

    path: Path
    facts: dict[str, Any]  # config, k, elbow, inertia {class: [k = 1 …]}, silhouette {class: …}

    @cached_property
    def assignments(self) -> pd.DataFrame:
        """One row a training image: image, class, cluster, pose, distance (to its centre), x, y."""
        text = {"image": str, "class": str, "pose": str}
        return pd.read_csv(self.path / "assignments.csv", dtype=text, keep_default_na=False)

    @property
    def poses(self) -> list[str]:
        return sorted(set(self.assignments["pose"]))

    def nearest(self, label: str, pose: str, count: int, *, farthest: bool = False) -> list[str]:
        """Ids of a cluster's images nearest to (or farthest from) its centre."""
        table = self.assignments
        chosen = table[(table["class"] == label) & (table["pose"] == pose)]
        ordered = chosen.sort_values("distance", ascending=not farthest, kind="stable")
        return ordered["image"].head(count).tolist()


def has_clustering(dataset: Dataset) -> bool:
    return (dataset.path / "poses" / "clustering.json").exists()


def open_clustering(dataset: Dataset) -> PoseClustering:
    if not has_clustering(dataset):
        raise UserError(f"Dataset {dataset.name} has no poses yet; run `poses {dataset.name}`.")
    path = dataset.path / "poses"
    return PoseClustering(path, read_json(path / "clustering.json"))


def elbow(inertia: np.ndarray) -> int | None:
    """The k at which a falling curve over K_RANGE bends most (Kneedle), or None."""
    from kneed import KneeLocator

    ks = list(K_RANGE)[: len(inertia)]
    if len(ks) < 3:
        return None
    found = KneeLocator(ks, inertia, curve="convex", direction="decreasing").elbow
    return None if found is None else int(found)


def match_clusters(centres: list[np.ndarray]) -> list[np.ndarray]:
    """For each class, its clusters' numbers in the first class's order: optimal assignment of
    centroids (k, d) to the running mean of those already matched."""
    from scipy.optimize import linear_sum_assignment

    reference = centres[0].copy()
    names = [np.arange(len(reference))]
    for number, own in enumerate(centres[1:], start=1):
        cost = ((own[:, None] - reference[None]) ** 2).sum(axis=2)
        mine, theirs = linear_sum_assignment(cost)
        names.append(theirs[np.argsort(mine)])
        reference[theirs] += (own[mine] - reference[theirs]) / (number + 1)
    return names


def cluster_poses(dataset: Dataset, config: PosesConfig, run: Run) -> PoseClustering:
    """Cluster each class's training images and keep the result with the dataset."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    catalogue = dataset.catalogue
    rows = np.flatnonzero(catalogue["split"].to_numpy() != "test")
    labels = catalogue["class"].to_numpy()[rows]
    smallest = min((labels == c).sum() for c in dataset.classes)
    if smallest < (config.k or 2):
        raise UserError(
            f"A class of {dataset.name} has {smallest} training images, too few for "
            f"{config.k or 2} clusters; choose a smaller k or add images."
        )
    features = dataset_features(dataset, rows, run)
    if float(features.std(axis=0).max()) < 1e-6:
        raise UserError(f"All images of {dataset.name} look the same; there is nothing to cluster.")
    pca = PCA(
        min(config.components, *features.shape), svd_solver="randomized", random_state=config.seed
    )
    points = pca.fit_transform(features)
    run.progress(0.92, "K-means")

    def kmeans(own: np.ndarray, k: int) -> Any:
        return KMeans(k, n_init=config.restarts, random_state=config.seed).fit(own)

    own_points = {c: points[labels == c] for c in dataset.classes}
    ks = [k for k in K_RANGE if k <= smallest]
    inertia = {c: [float(kmeans(own, k).inertia_) for k in ks] for c, own in own_points.items()}
    widest = max(curve[0] for curve in inertia.values())
    bent = {c: np.array(v) for c, v in inertia.items() if v[0] > 1e-6 * widest}  # not all alike
    elbows = {c: elbow(bent[c]) if c in bent else None for c in inertia}
    mean_curve = np.mean([curve / curve[0] for curve in bent.values()], axis=0)
    common = elbow(mean_curve)
    k = config.k or common or min(NO_ELBOW, smallest)
    fits = {c: kmeans(own, k) for c, own in own_points.items()}
    names = match_clusters([fit.cluster_centers_ for fit in fits.values()])
    table = pd.DataFrame(
        {"image": catalogue["image"].to_numpy()[rows], "class": labels, "cluster": 0, "pose": "",
         "distance": 0.0, "x": points[:, 0], "y": points[:, 1] if points.shape[1] > 1 else 0.0}
    )  # fmt: skip
    silhouette = {}
    for (c, fit), name in zip(fits.items(), names, strict=True):
        mine = labels == c
        table.loc[mine, "cluster"] = fit.labels_
        table.loc[mine, "pose"] = [f"pose {name[i] + 1}" for i in fit.labels_]
        table.loc[mine, "distance"] = fit.transform(own_points[c]).min(axis=1)
        several = 1 < len(set(fit.labels_)) < mine.sum()
        silhouette[c] = float(silhouette_score(own_points[c], fit.labels_)) if several else None
    facts = {
        "config": config.model_dump(mode="json"),
        "extractor": "hog",
        "k": k,
        "elbow": common,
        "elbows": elbows,
        "ks": ks,
        "inertia": inertia,
        "silhouette": silhouette,
        "variance_kept": float(pca.explained_variance_ratio_.sum()),
    }
    return _keep(dataset, table, facts)


def _keep(dataset: Dataset, table: pd.DataFrame, facts: dict[str, Any]) -> PoseClustering:
    aside = Path(tempfile.mkdtemp(dir=dataset.path, prefix=".poses."))
    table.to_csv(aside / "assignments.csv", index=False, float_format="%.6g")
    write_json(aside / "clustering.json", facts)
    replace_folder(aside, dataset.path / "poses")
    return open_clustering(dataset)


def poses_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = PosesConfig.build(**run.config)
    clustering = cluster_poses(open_dataset(workspace, config.dataset), config, run)
    return {"dataset": config.dataset, **summary(clustering)}


def summary(clustering: PoseClustering) -> dict[str, Any]:
    """What the command line prints of a clustering."""
    table = clustering.assignments
    sizes = (table["class"] + "/" + table["pose"]).value_counts(sort=False).sort_index()
    return {
        "k": clustering.facts["k"],
        "elbow": clustering.facts["elbow"],
        "elbows": clustering.facts["elbows"],
        "silhouette": clustering.facts["silhouette"],
        "counts": {str(name): int(n) for name, n in sizes.items()},
        "assignments": str((clustering.path / "assignments.csv").resolve()),
    }
