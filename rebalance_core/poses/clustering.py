"""K-means of each class in one feature space, k from the elbow, clusters matched across classes.

Paper sections 3.1 and 5.2.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.config import K, PosesConfig
from rebalance_core.poses.extractors import EXTRACTORS
from rebalance_core.poses.features import dataset_features, resolve_extractor
from rebalance_core.poses.kmeans import (
    DEFAULT_K,
    K_RANGE,
    elbow,
    fit_restarts,
    match_clusters,
    nearest_centre,
    project,
    silhouettes,
    stability,
)
from rebalance_core.poses.records import (
    AXES,
    Agreement,
    ClusteringRecord,
    Curves,
    FeatureSpace,
    common_k,
    is_pose_name,
    read_assignments,
    read_points,
    read_record,
)
from rebalance_core.poses.versions import current_version, new_version, versions_lock
from rebalance_core.poses.weights import weights_metadata
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.files import write_json
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

MIN_IMAGES = 4  # training images of a class for a curve that may have an elbow


@dataclass(frozen=True)
class PoseClustering:
    """One version of a dataset's poses, with the manual corrections up to it."""

    dataset: Dataset
    path: Path
    record: ClusteringRecord

    @cached_property
    def assignments(self) -> "pd.DataFrame":
        """One row per image, in the order of the catalogue: image, class, cluster (0 to k - 1),
        pose, split, distance (to the cluster's centre), x, y, z (first principal components).

        Raises UserError where the file is damaged.
        """
        return read_assignments(self.path, self.dataset, self.record.ks)

    @cached_property
    def training(self) -> "pd.DataFrame":
        """The rows of the images on which the clustering was fitted."""
        return self.assignments[fitted_rows(self.dataset, self.record.fitted_on)]

    @property
    def fitted_on(self) -> list[str]:
        """Ids of the images on which the clustering was fitted."""
        return self.training["image"].tolist()

    @property
    def poses(self) -> list[str]:
        return sorted(set(self.assignments["pose"]))

    @property
    def corrections(self) -> list[str]:
        return self.record.corrections

    def nearest(self, label: str, pose: str, count: int, *, farthest: bool = False) -> list[str]:
        """Ids of a class's training images of a pose, nearest to (or farthest from) the centre."""
        table = self.training
        members = table[(table["class"] == label) & (table["pose"] == pose)]
        ordered = members.sort_values("distance", ascending=not farthest, kind="stable")
        return ordered["image"].head(count).tolist()


def has_clustering(dataset: Dataset) -> bool:
    return current_version(dataset.path) is not None


def open_clustering(dataset: Dataset) -> PoseClustering:
    """The current poses of a dataset; raises UserError where they are missing or damaged."""
    path = current_version(dataset.path)
    if path is None:
        raise UserError(
            f"Dataset {dataset.name} has no poses yet; run `poses cluster {dataset.name}`."
        )
    return PoseClustering(dataset, path, read_record(path, dataset))


def fitted_rows(dataset: Dataset, images: Sequence[str] | None) -> np.ndarray:
    """Whether a clustering is fitted on each row of the catalogue, bool (n,).

    On `images`, or on the dataset's training split.
    """
    if images is None:
        return (dataset.catalogue["split"] == "train").to_numpy()
    return dataset.catalogue["image"].isin(images).to_numpy()


def prepare_poses(workspace: Workspace, config: PosesConfig) -> PosesConfig:
    """The config with its extractor resolved; raises UserError where clustering would fail."""
    dataset = open_dataset(workspace, config.dataset)
    _check_corrections(dataset, config.discard_corrections)
    extractor = resolve_extractor(workspace, config.extractor)
    if extractor != "hog":
        weights_metadata(workspace, extractor)
    return config.model_copy(update={"extractor": extractor})


def cluster_poses(
    dataset: Dataset, config: PosesConfig, run: Run, images: Sequence[str] | None = None
) -> PoseClustering:
    """Cluster each class and store the result with the dataset.

    PCA and K-means are fitted on `images`, or on the dataset's training split; other images are
    assigned to the nearest centre of their class. Raises UserError where all images are the same,
    where weights are missing and where manual corrections would be lost.
    """
    _check_corrections(dataset, config.discard_corrections)
    extractor = resolve_extractor(Workspace(dataset.path.parent.parent), config.extractor)
    features = dataset_features(dataset, extractor, config.precision, run)
    run.progress(0.9, "PCA")
    is_fitted = fitted_rows(dataset, images)
    points, variance_kept = project(
        features, np.flatnonzero(is_fitted), config.components, config.variance, config.seed
    )
    if points.shape[1] == 0:
        raise UserError(
            f"All images of {dataset.name} look the same; add different images to cluster them."
        )
    labels = dataset.catalogue["class"].to_numpy()
    by_class = {c: points[is_fitted & (labels == c)] for c in dataset.classes}
    space = FeatureSpace(
        **dict(_curves(by_class, config, run)),
        config=config.model_dump(),
        extractor=extractor,
        variance_kept=variance_kept,
    )
    with versions_lock(dataset.path):
        _check_corrections(dataset, config.discard_corrections)  # some may be new
        return _cluster(dataset, points, space, config.k, images)


def recluster(dataset: Dataset, k: K, *, discard_corrections: bool = False) -> PoseClustering:
    """Cluster again with another k in the stored principal components.

    Raises UserError where the stored clustering is damaged, and where manual corrections would be
    lost and `discard_corrections` is not set.
    """
    with versions_lock(dataset.path):
        _check_corrections(dataset, discard_corrections)
        before = open_clustering(dataset)
        points = read_points(before.path, dataset)
        config = before.record.config.model_copy(update={"k": k})
        space = before.record.model_copy(update={"config": config})
        return _cluster(dataset, points, space, k, before.record.fitted_on, points_of=before)


def resolve_ks(curves: Curves, k: K, sizes: Mapping[str, int]) -> dict[str, int]:
    """{class: k}: a given k, the elbow of the mean curve or that of each class.

    Never more than the images of the class, `sizes`. Without an elbow, k is the paper's 3.
    """
    if k == "per-class":
        ks = {c: curves.elbows[c] or DEFAULT_K for c in sizes}
    else:
        ks = dict.fromkeys(sizes, int(k) if isinstance(k, int) else curves.elbow or DEFAULT_K)
    return {c: min(n, sizes[c]) for c, n in ks.items()}


def may_have_corrections(dataset: Dataset) -> bool:
    """Whether the poses have manual corrections; True where the record is damaged."""
    try:
        return has_clustering(dataset) and bool(open_clustering(dataset).corrections)
    except UserError:
        return True


def _check_corrections(dataset: Dataset, discard: bool) -> None:
    if discard or not has_clustering(dataset):
        return
    corrections = open_clustering(dataset).corrections
    if corrections:
        raise UserError(
            f"The poses of {dataset.name} have {len(corrections)} manual correction(s), which "
            "clustering again would lose; pass --discard-corrections to discard them."
        )


def _curves(by_class: Mapping[str, np.ndarray], config: PosesConfig, run: Run) -> Curves:
    """Inertia and silhouette of each class over k, and the elbows of each and of their mean.

    A class has at most as many clusters as images; one of few images has no elbow, nor a say in
    the mean.
    """
    tried = [k for k in K_RANGE if k <= max(map(len, by_class.values()))]
    inertia: dict[str, list[float]] = {}
    silhouette: dict[str, list[float | None]] = {}
    for index, (label, points) in enumerate(by_class.items()):
        best = []
        for k in tried:
            clusters = min(k, len(points))
            best.append(fit_restarts(points, clusters, config.restarts, config.seed)[0])
            run.progress(0.92 + 0.07 * index / len(by_class), f"K-means of {label}, k = {k}")
            if run.should_stop():
                raise Cancelled
        inertia[label] = [fit.inertia for fit in best]
        silhouette[label] = silhouettes(points, [fit.labels for fit in best], config.seed)
    largest = max(curve[0] for curve in inertia.values())
    # Classes whose images are all the same have no curve.
    curves = {
        c: np.array(v)
        for c, v in inertia.items()
        if v[0] > 1e-6 * largest and len(by_class[c]) >= MIN_IMAGES
    }
    relative = [curve / curve[0] for curve in curves.values()]
    return Curves(
        tried=tried,
        inertia=inertia,
        silhouettes=silhouette,
        elbows={c: elbow(curves[c]) if c in curves else None for c in inertia},
        elbow=elbow(np.mean(relative, axis=0)) if relative else None,
    )


def _cluster(
    dataset: Dataset,
    points: np.ndarray,
    space: FeatureSpace,
    k: K,
    images: Sequence[str] | None,
    points_of: PoseClustering | None = None,
) -> PoseClustering:
    """K-means of each class at its k, matching and evaluation; stored as a new version.

    `images`: those to fit on; None: the training split. `points_of`: the version whose
    `points.npy` holds these points already.
    """
    import pandas as pd

    config = space.config
    catalogue = dataset.catalogue
    labels = catalogue["class"].to_numpy()
    train = fitted_rows(dataset, images)
    masks = {c: labels == c for c in dataset.classes}
    ks = resolve_ks(space, k, {c: int((m & train).sum()) for c, m in masks.items()})
    fits = {
        c: fit_restarts(points[masks[c] & train], ks[c], config.restarts, config.seed)
        for c in dataset.classes
    }
    numbers = match_clusters({c: restarts[0].centres for c, restarts in fits.items()})
    table = pd.DataFrame(
        {
            "image": catalogue["image"],
            "class": labels,
            "cluster": 0,
            "pose": "",
            "split": catalogue["split"],
            "distance": 0.0,
        }
    )
    for index, axis in enumerate(AXES):
        table[axis] = points[:, index] if index < points.shape[1] else 0.0
    for label, restarts in fits.items():
        clusters, distances = nearest_centre(points[masks[label]], restarts[0].centres)
        table.loc[masks[label], "cluster"] = clusters
        table.loc[masks[label], "distance"] = distances
        table.loc[masks[label], "pose"] = [f"pose {numbers[label][i] + 1}" for i in clusters]
    record = ClusteringRecord(
        **{name: getattr(space, name) for name in FeatureSpace.model_fields},
        k=common_k(ks),
        ks=ks,
        silhouette={
            c: silhouettes(points[masks[c] & train], [restarts[0].labels], config.seed)[0]
            for c, restarts in fits.items()
        },
        stability={c: stability(restarts) for c, restarts in fits.items()},
        fitted_on=None if images is None else sorted(images),
    )
    return _store(dataset, table, record, points if points_of is None else points_of)


def agreement(
    dataset: Dataset, table: "pd.DataFrame", images: Sequence[str] | None = None
) -> Agreement | None:
    """Compare poses with the true ones of the images fitted on; None where there are none."""
    import pandas as pd
    from sklearn.metrics import adjusted_rand_score

    truth = dataset.catalogue["pose"].to_numpy().astype(str)
    labelled = table[(truth != "") & fitted_rows(dataset, images)]
    if labelled.empty:
        return None
    true = pd.Series(truth, index=table.index)[labelled.index]
    most_frequent = labelled["pose"].groupby(true).agg(lambda names: names.mode()[0])
    return Agreement(
        classes={
            str(c): float(adjusted_rand_score(true[rows.index], rows["pose"]))
            for c, rows in labelled.groupby("class")
        },
        all=float(adjusted_rand_score(true, labelled["pose"])),
        same_name=float((labelled["pose"] == true.map(most_frequent)).mean()),
    )


def _store(
    dataset: Dataset,
    table: "pd.DataFrame",
    record: ClusteringRecord,
    points: "np.ndarray | PoseClustering",
) -> PoseClustering:
    """Write a new version; `points` may be another version, whose file is then shared."""
    record = record.model_copy(update={"agreement": agreement(dataset, table, record.fitted_on)})
    with new_version(dataset.path) as folder:
        table.to_csv(
            folder / "assignments.csv", index=False, float_format="%.6g", lineterminator="\n"
        )
        if isinstance(points, PoseClustering):
            _link(points.path / "points.npy", folder / "points.npy")
        else:
            np.save(folder / "points.npy", points)
        write_json(folder / "clustering.json", record.model_dump(mode="json"))
    return open_clustering(dataset)


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def rename_pose(dataset: Dataset, old: str, new: str) -> PoseClustering:
    """Rename a pose in all classes; raises UserError for a name that is in use."""
    new = _pose_name(new)
    with versions_lock(dataset.path):
        clustering = open_clustering(dataset)
        _check_pose(dataset, clustering, old)
        if new in clustering.poses:
            raise UserError(
                f"Dataset {dataset.name} already has a pose {new}; to merge the two, move the "
                f"clusters of {old} there with `poses move`."
            )
        table = clustering.assignments.copy()
        table["pose"] = table["pose"].replace({old: new})
        return _store_correction(dataset, clustering, table, f"{old} renamed to {new}")


def move_images(dataset: Dataset, images: Sequence[str], pose: str) -> PoseClustering:
    """Move single images to a pose, which is created if it does not exist."""
    with versions_lock(dataset.path):
        clustering = open_clustering(dataset)
        unknown = [image for image in images if image not in dataset.rows]
        if unknown or not images:
            raise UserError(
                f"Dataset {dataset.name} has no image {unknown[0] if unknown else ''!r}; use an id "
                "from assignments.csv."
            )
        mask = clustering.assignments["image"].isin(set(images))
        return _move(dataset, clustering, mask, pose, f"{len(set(images))} image(s)")


def move_cluster(dataset: Dataset, label: str, cluster: int, pose: str) -> PoseClustering:
    """Move a cluster of one class to a pose, which is created if it does not exist."""
    with versions_lock(dataset.path):
        clustering = open_clustering(dataset)
        table = clustering.assignments
        mask = (table["class"] == label) & (table["cluster"] == cluster)
        if not mask.any():
            ks = ", ".join(f"{c}/0 to {c}/{k - 1}" for c, k in clustering.record.ks.items())
            raise UserError(f"Cluster {label}/{cluster} does not exist; choose from {ks}.")
        return _move(dataset, clustering, mask, pose, f"cluster {label}/{cluster}")


def _move(
    dataset: Dataset, clustering: PoseClustering, mask: "pd.Series[bool]", pose: str, source: str
) -> PoseClustering:
    pose = _pose_name(pose)
    table = clustering.assignments.copy()
    table.loc[mask, "pose"] = pose
    return _store_correction(dataset, clustering, table, f"{source} moved to {pose}")


def _pose_name(name: str) -> str:
    name = name.strip()
    if not is_pose_name(name):
        raise UserError(
            f"{name!r} is not a valid name of a pose: use up to 64 printable characters without "
            "commas."
        )
    return name


def _check_pose(dataset: Dataset, clustering: PoseClustering, pose: str) -> None:
    if pose not in clustering.poses:
        poses = ", ".join(clustering.poses)
        raise UserError(f"Dataset {dataset.name} has no pose {pose}; it has {poses}.")


def _store_correction(
    dataset: Dataset, clustering: PoseClustering, table: "pd.DataFrame", correction: str
) -> PoseClustering:
    corrections = [*clustering.corrections, correction]
    record = clustering.record.model_copy(update={"corrections": corrections})
    return _store(dataset, table, record, clustering)


def summary(clustering: PoseClustering) -> dict[str, Any]:
    """A clustering as the command line prints it; `counts` are training images per class/pose."""
    record, table = clustering.record, clustering.training
    sizes = (table["class"] + "/" + table["pose"]).value_counts(sort=False).sort_index()
    link = clustering.path.parent.parent / "poses"  # the same for all versions
    return {
        "extractor": record.extractor,
        "features": EXTRACTORS[record.extractor].title,
        "k": record.ks if record.k is None else record.k,
        "ks": record.ks,
        "elbow": record.elbow,
        "elbows": record.elbows,
        "silhouette": record.silhouette,
        "stability": record.stability,
        "agreement": record.agreement and record.agreement.model_dump(),
        "poses": clustering.poses,
        "counts": {str(name): int(n) for name, n in sizes.items()},
        "corrections": clustering.corrections,
        "fitted_on": {"set": record.config.set, "images": len(table)},
        "assignments": str(link / "assignments.csv"),
    }
