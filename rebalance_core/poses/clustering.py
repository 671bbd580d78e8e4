"""Each class by K-means in one feature space; the elbow picks k; clusters get names across classes.

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
    K_RANGE,
    NO_ELBOW,
    elbow,
    match_clusters,
    nearest_centre,
    project,
    restarts,
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
from rebalance_core.poses.versions import changing, current_version, new_version
from rebalance_core.poses.weights import weights_facts
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.system.files import write_json
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4  # training images of a class below which its curve has no elbow to find


@dataclass(frozen=True)
class PoseClustering:
    """One version of a dataset's poses, with all manual corrections up to it."""

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
        """The rows of training images, which alone the clustering was fitted on."""
        return self.assignments[self.assignments["split"] == "train"]

    @property
    def poses(self) -> list[str]:
        return sorted(set(self.assignments["pose"]))

    @property
    def corrections(self) -> list[str]:
        return self.record.corrections

    def nearest(self, label: str, pose: str, count: int, *, farthest: bool = False) -> list[str]:
        """Ids of a class's training images of a pose, nearest to (or farthest from) the centre."""
        table = self.training
        chosen = table[(table["class"] == label) & (table["pose"] == pose)]
        ordered = chosen.sort_values("distance", ascending=not farthest, kind="stable")
        return ordered["image"].head(count).tolist()


def has_clustering(dataset: Dataset) -> bool:
    return current_version(dataset.path) is not None


def open_clustering(dataset: Dataset) -> PoseClustering:
    path = current_version(dataset.path)
    if path is None:
        raise UserError(
            f"Dataset {dataset.name} has no poses yet; run `poses cluster {dataset.name}`."
        )
    return PoseClustering(dataset, path, read_record(path, dataset))


def prepare_poses(workspace: Workspace, config: PosesConfig) -> PosesConfig:
    """The config to submit, its extractor resolved; raises UserError for what is known to fail."""
    dataset = open_dataset(workspace, config.dataset)
    _check_corrections(dataset, config.discard_corrections)
    _check_sizes(dataset, config.k)
    extractor = resolve_extractor(workspace, config.extractor)
    if extractor != "hog":
        weights_facts(workspace, extractor)
    return config.model_copy(update={"extractor": extractor})


def cluster_poses(dataset: Dataset, config: PosesConfig, run: Run) -> PoseClustering:
    """Cluster each class and keep the result with the dataset.

    PCA and K-means use images of the dataset's training split only; the others get their class's
    nearest centre.
    Raises UserError where a class is too small for k, where images don't differ, where weights
    are missing, and where poses corrected by hand would be lost.
    """
    _check_corrections(dataset, config.discard_corrections)
    _check_sizes(dataset, config.k)
    extractor = resolve_extractor(Workspace(dataset.path.parent.parent), config.extractor)
    features = dataset_features(dataset, extractor, config.precision, run)
    run.progress(0.9, "PCA")
    catalogue = dataset.catalogue
    train = catalogue["split"].to_numpy() == "train"
    points, kept = project(
        features, np.flatnonzero(train), config.components, config.variance, config.seed
    )
    if points.shape[1] == 0:
        raise UserError(f"All images of {dataset.name} look the same; there is nothing to cluster.")
    labels = catalogue["class"].to_numpy()
    own = {c: points[train & (labels == c)] for c in dataset.classes}
    space = FeatureSpace(
        **dict(_curves(own, config, run)),
        config=config.model_dump(),
        extractor=extractor,
        variance_kept=kept,
    )
    with changing(dataset.path):
        _check_corrections(dataset, config.discard_corrections)  # some may be new
        return _cluster(dataset, points, space, config.k)


def recluster(dataset: Dataset, k: K, *, discard_corrections: bool = False) -> PoseClustering:
    """Cluster again with another k in the stored principal components.

    Raises UserError where a class is too small for k, where the stored clustering is damaged, and
    where manual corrections would be lost and `discard_corrections` is not set.
    """
    with changing(dataset.path):
        _check_corrections(dataset, discard_corrections)
        _check_sizes(dataset, k)
        before = open_clustering(dataset)
        points = read_points(before.path, dataset)
        config = before.record.config.model_copy(update={"k": k})
        space = before.record.model_copy(update={"config": config})
        return _cluster(dataset, points, space, k, points_of=before)


def chosen_ks(curves: Curves, k: K, sizes: Mapping[str, int]) -> dict[str, int]:
    """{class: k}: by hand, from the elbow of all curves, or from each class's own; never more
    than the class has images. Where a curve has no elbow, k is the paper's 3."""
    if k == "per-class":
        wanted = {c: curves.elbows[c] or NO_ELBOW for c in sizes}
    else:
        wanted = dict.fromkeys(sizes, int(k) if isinstance(k, int) else curves.elbow or NO_ELBOW)
    return {c: min(n, sizes[c]) for c, n in wanted.items()}


def may_have_corrections(dataset: Dataset) -> bool:
    """Whether the poses have manual corrections; True also where the record is damaged."""
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
            f"The poses of {dataset.name} hold {len(corrections)} correction(s) by hand, which "
            "clustering anew would lose; say --discard-corrections if they may go."
        )


def _check_sizes(dataset: Dataset, k: K) -> None:
    """Every class must have k training images, or enough for a curve with an elbow."""
    catalogue = dataset.catalogue
    train = catalogue[catalogue["split"] == "train"]
    counts = {c: int((train["class"] == c).sum()) for c in dataset.classes}
    label = min(counts, key=lambda c: counts[c])
    have = f"Class {label} of {dataset.name} has {counts[label]} training image(s), too few for "
    if isinstance(k, int) and counts[label] < k:
        raise UserError(f"{have}{k} clusters; choose a smaller k or add images.")
    if not isinstance(k, int) and counts[label] < FEWEST:
        raise UserError(f"{have}an elbow; choose k by hand (--k 1 …) or add images.")


def _curves(own: Mapping[str, np.ndarray], config: PosesConfig, run: Run) -> Curves:
    """Inertia and silhouette of each class over k, and the elbows of all and of each."""
    smallest = min(len(points) for points in own.values())
    tried = [k for k in K_RANGE if k <= smallest]
    inertia: dict[str, list[float]] = {}
    silhouette: dict[str, list[float | None]] = {}
    for number, (label, points) in enumerate(own.items()):
        best = []
        for k in tried:
            best.append(restarts(points, k, config.restarts, config.seed)[0])
            run.progress(0.92 + 0.07 * number / len(own), f"K-means of {label}, k = {k}")
            if run.should_stop():
                raise Cancelled
        inertia[label] = [fit.inertia for fit in best]
        silhouette[label] = silhouettes(points, [fit.labels for fit in best], config.seed)
    widest = max(curve[0] for curve in inertia.values())
    bent = {c: np.array(v) for c, v in inertia.items() if v[0] > 1e-6 * widest}  # not all alike
    return Curves(
        tried=tried,
        inertia=inertia,
        silhouettes=silhouette,
        elbows={c: elbow(bent[c]) if c in bent else None for c in inertia},
        elbow=elbow(np.mean([curve / curve[0] for curve in bent.values()], axis=0)),
    )


def _cluster(
    dataset: Dataset,
    points: np.ndarray,
    space: FeatureSpace,
    k: K,
    points_of: PoseClustering | None = None,
) -> PoseClustering:
    """K-means of each class at its k, names across classes, judgement; kept as a new version."""
    import pandas as pd

    config = space.config
    catalogue = dataset.catalogue
    labels = catalogue["class"].to_numpy()
    train = catalogue["split"].to_numpy() == "train"
    masks = {c: labels == c for c in dataset.classes}
    ks = chosen_ks(space, k, {c: int((m & train).sum()) for c, m in masks.items()})
    fits = {
        c: restarts(points[masks[c] & train], ks[c], config.restarts, config.seed)
        for c in dataset.classes
    }
    numbers = match_clusters({c: own[0].centres for c, own in fits.items()})
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
    for number, axis in enumerate(AXES):
        table[axis] = points[:, number] if number < points.shape[1] else 0.0
    for label, own in fits.items():
        clusters, distances = nearest_centre(points[masks[label]], own[0].centres)
        table.loc[masks[label], "cluster"] = clusters
        table.loc[masks[label], "distance"] = distances
        table.loc[masks[label], "pose"] = [f"pose {numbers[label][i] + 1}" for i in clusters]
    record = ClusteringRecord(
        **{name: getattr(space, name) for name in FeatureSpace.model_fields},
        k=common_k(ks),
        ks=ks,
        silhouette={
            c: silhouettes(points[masks[c] & train], [own[0].labels], config.seed)[0]
            for c, own in fits.items()
        },
        stability={c: stability(own) for c, own in fits.items()},
    )
    return _keep(dataset, table, record, points if points_of is None else points_of)


def agreement(dataset: Dataset, table: "pd.DataFrame") -> Agreement | None:
    """Compare poses with the true ones of training images; None where none are known."""
    import pandas as pd
    from sklearn.metrics import adjusted_rand_score

    truth = dataset.catalogue["pose"].to_numpy().astype(str)
    known = table[(truth != "") & (table["split"] == "train").to_numpy()]
    if known.empty:
        return None
    true = pd.Series(truth, index=table.index)[known.index]
    usual = known["pose"].groupby(true).agg(lambda names: names.mode()[0])
    return Agreement(
        classes={
            str(c): float(adjusted_rand_score(true[known["class"] == c], own["pose"]))
            for c, own in known.groupby("class")
        },
        all=float(adjusted_rand_score(true, known["pose"])),
        same_name=float((known["pose"] == true.map(usual)).mean()),
    )


def _keep(
    dataset: Dataset,
    table: "pd.DataFrame",
    record: ClusteringRecord,
    points: "np.ndarray | PoseClustering",
) -> PoseClustering:
    """Write a new version; `points` may be those of another, which are then shared."""
    record = record.model_copy(update={"agreement": agreement(dataset, table)})
    with new_version(dataset.path) as aside:
        table.to_csv(
            aside / "assignments.csv", index=False, float_format="%.6g", lineterminator="\n"
        )
        if isinstance(points, PoseClustering):
            _link(points.path / "points.npy", aside / "points.npy")
        else:
            np.save(aside / "points.npy", points)
        write_json(aside / "clustering.json", record.model_dump(mode="json"))
    return open_clustering(dataset)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def rename_pose(dataset: Dataset, old: str, new: str) -> PoseClustering:
    """Give a pose another name in all classes; raises UserError for one that is taken."""
    new = _pose_name(new)
    with changing(dataset.path):
        clustering = open_clustering(dataset)
        _check_pose(dataset, clustering, old)
        if new in clustering.poses:
            raise UserError(
                f"Dataset {dataset.name} has a pose {new} already; to join the two, move the "
                f"clusters of {old} there with `poses move`."
            )
        table = clustering.assignments.copy()
        table["pose"] = table["pose"].replace({old: new})
        return _corrected(dataset, clustering, table, f"{old} renamed to {new}")


def move_images(dataset: Dataset, images: Sequence[str], pose: str) -> PoseClustering:
    """Put single images into a pose, a new one if there is none of that name."""
    with changing(dataset.path):
        clustering = open_clustering(dataset)
        unknown = [image for image in images if image not in dataset.rows]
        if unknown or not images:
            raise UserError(
                f"Dataset {dataset.name} has no image {unknown[0] if unknown else ''!r}; name it "
                "as the assignments do."
            )
        mask = clustering.assignments["image"].isin(set(images))
        return _move(dataset, clustering, mask, pose, f"{len(set(images))} image(s)")


def move_cluster(dataset: Dataset, label: str, cluster: int, pose: str) -> PoseClustering:
    """Put a whole cluster of one class into a pose, a new one if there is none of that name."""
    with changing(dataset.path):
        clustering = open_clustering(dataset)
        table = clustering.assignments
        mask = (table["class"] == label) & (table["cluster"] == cluster)
        if not mask.any():
            ks = ", ".join(f"{c}/0 to {c}/{k - 1}" for c, k in clustering.record.ks.items())
            raise UserError(f"There is no cluster {label}/{cluster}; there are {ks}.")
        return _move(dataset, clustering, mask, pose, f"cluster {label}/{cluster}")


def _move(
    dataset: Dataset, clustering: PoseClustering, mask: "pd.Series[bool]", pose: str, what: str
) -> PoseClustering:
    pose = _pose_name(pose)
    table = clustering.assignments.copy()
    table.loc[mask, "pose"] = pose
    return _corrected(dataset, clustering, table, f"{what} moved to {pose}")


def _pose_name(name: str) -> str:
    name = name.strip()
    if not is_pose_name(name):
        raise UserError(
            f"{name!r} cannot be the name of a pose: use up to 64 letters, digits, spaces or "
            "signs, but no comma."
        )
    return name


def _check_pose(dataset: Dataset, clustering: PoseClustering, pose: str) -> None:
    if pose not in clustering.poses:
        known = ", ".join(clustering.poses)
        raise UserError(f"Dataset {dataset.name} has no pose {pose}; it has {known}.")


def _corrected(
    dataset: Dataset, clustering: PoseClustering, table: "pd.DataFrame", told: str
) -> PoseClustering:
    corrections = [*clustering.corrections, told]
    record = clustering.record.model_copy(update={"corrections": corrections})
    return _keep(dataset, table, record, clustering)


def poses_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = PosesConfig.build(**run.config)
    clustering = cluster_poses(open_dataset(workspace, config.dataset), config, run)
    return {"dataset": config.dataset, **summary(clustering)}


def summary(clustering: PoseClustering) -> dict[str, Any]:
    """What the command line prints of a clustering; `counts` are of training images."""
    record, table = clustering.record, clustering.training
    sizes = (table["class"] + "/" + table["pose"]).value_counts(sort=False).sort_index()
    link = clustering.path.parent.parent / "poses"  # stays the same over later versions
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
        "assignments": str(link / "assignments.csv"),
    }
