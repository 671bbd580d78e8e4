"""Each class by K-means in one feature space; the elbow picks k; clusters get names across classes.

Paper sections 3.1 and 5.2.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from rebalance_core.config import Config, Precision, Seed
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.extractors import EXTRACTORS, ExtractorChoice
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
from rebalance_core.poses.versions import changing, current_version, new_version
from rebalance_core.poses.weights import weights_facts
from rebalance_core.runs.run import Cancelled, Run, RunDirectory
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4  # training images of a class below which its curve has no elbow to find
AXES = ("x", "y", "z")  # the first principal components, as plots show them


def _number_or_word(k: object) -> object:
    if k in ("auto", "per-class") or (type(k) is int and k >= 1):
        return k
    raise ValueError("use auto, per-class or a number from 1")


K = Annotated[int | str, BeforeValidator(_number_or_word)]


class PosesConfig(Config):
    """How a dataset is clustered by pose."""

    dataset: str
    extractor: ExtractorChoice = "auto"  # auto: vgg16 (3.1) where its weights are here, else hog
    k: K = "auto"  # clusters a class; auto: one for all from all elbows (5.2)
    components: int = Field(default=50, ge=1, le=1000)  # of the PCA, at most
    variance: float | None = Field(default=None, gt=0, lt=1)  # share to keep, instead of a number
    restarts: int = Field(default=10, ge=1, le=100)  # of K-means, the best kept
    precision: Precision = "auto"  # of the network that extracts features
    discard_corrections: bool = False  # cluster anew although somebody corrected the poses by hand
    seed: Seed = 0


@dataclass(frozen=True)
class PoseClustering:
    """One version of a dataset's poses, as `cluster_poses` and corrections by hand left it.

    `facts`: config, extractor, k (None where classes differ), ks {class: k}, elbow, elbows
    {class: k}, tried [k = 1 …], inertia and silhouettes {class: one a k tried}, silhouette,
    stability and agreement {class: number or None}, variance_kept, corrections [in words].
    """

    path: Path
    facts: dict[str, Any]

    @cached_property
    def assignments(self) -> "pd.DataFrame":
        """One row an image: image, class, cluster (0 to k - 1), pose, split, distance (to the
        cluster's centre), x, y, z (first principal components)."""
        import pandas as pd

        text = {"image": str, "class": str, "pose": str, "split": str}
        return pd.read_csv(self.path / "assignments.csv", dtype=text, keep_default_na=False)

    @cached_property
    def training(self) -> "pd.DataFrame":
        """The rows of training images, which alone the clustering was fitted on."""
        return self.assignments[self.assignments["split"] == "train"]

    @property
    def poses(self) -> list[str]:
        return sorted(set(self.assignments["pose"]))

    @property
    def corrections(self) -> list[str]:
        return list(self.facts["corrections"])

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
    return PoseClustering(path, read_json(path / "clustering.json"))


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
    facts = _curves(own, config, run) | {
        "config": config.model_dump(mode="json"),
        "extractor": extractor,
        "variance_kept": kept,
    }
    with changing(dataset.path):
        _check_corrections(dataset, config.discard_corrections)  # some may be new
        return _cluster(dataset, points, facts, config.k)


def recluster(dataset: Dataset, k: K, *, discard_corrections: bool = False) -> PoseClustering:
    """Cluster anew with another k from the points that are kept; takes no features.

    Raises UserError where a class is too small for k, and where poses corrected by hand would be
    lost and `discard_corrections` is not set.
    """
    with changing(dataset.path):
        _check_corrections(dataset, discard_corrections)
        _check_sizes(dataset, k)
        before = open_clustering(dataset)
        points = _read_points(before)
        facts = before.facts | {"config": before.facts["config"] | {"k": k}}
        return _cluster(dataset, points, facts, k, points_of=before)


def _read_points(clustering: PoseClustering) -> np.ndarray:
    """Where the images lie after the PCA; raises UserError if the file is damaged."""
    path = clustering.path / "points.npy"
    try:
        points: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        name = clustering.facts["config"]["dataset"]
        raise UserError(f"{path} cannot be read; cluster the poses of {name} anew.") from error
    return points


def chosen_ks(facts: Mapping[str, Any], k: K, sizes: Mapping[str, int]) -> dict[str, int]:
    """{class: k}: by hand, from the elbow of all curves, or from each class's own; never more
    than the class has images. Where a curve has no elbow, k is the paper's 3."""
    if k == "per-class":
        wanted = {c: facts["elbows"][c] or NO_ELBOW for c in sizes}
    else:
        wanted = dict.fromkeys(sizes, int(k) if isinstance(k, int) else facts["elbow"] or NO_ELBOW)
    return {c: min(n, sizes[c]) for c, n in wanted.items()}


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


def _curves(own: Mapping[str, np.ndarray], config: PosesConfig, run: Run) -> dict[str, Any]:
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
    return {
        "tried": tried,
        "inertia": inertia,
        "silhouettes": silhouette,
        "elbows": {c: elbow(bent[c]) if c in bent else None for c in inertia},
        "elbow": elbow(np.mean([curve / curve[0] for curve in bent.values()], axis=0)),
    }


def _cluster(
    dataset: Dataset,
    points: np.ndarray,
    facts: dict[str, Any],
    k: K,
    points_of: PoseClustering | None = None,
) -> PoseClustering:
    """K-means of each class at its k, names across classes, judgement; kept as a new version."""
    import pandas as pd

    config = PosesConfig.build(**facts["config"])
    catalogue = dataset.catalogue
    labels = catalogue["class"].to_numpy()
    train = catalogue["split"].to_numpy() == "train"
    masks = {c: labels == c for c in dataset.classes}
    ks = chosen_ks(facts, k, {c: int((m & train).sum()) for c, m in masks.items()})
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
    same = len(set(ks.values())) == 1
    told = facts | {
        "k": next(iter(ks.values())) if same else None,
        "ks": ks,
        "silhouette": {
            c: silhouettes(points[masks[c] & train], [own[0].labels], config.seed)[0]
            for c, own in fits.items()
        },
        "stability": {c: stability(own) for c, own in fits.items()},
        "corrections": [],
    }
    return _keep(dataset, table, told, points if points_of is None else points_of)


def agreement(dataset: Dataset, table: "pd.DataFrame") -> dict[str, Any] | None:
    """How well poses agree with the true ones of training images; None where none are known.

    `classes`: adjusted Rand index (Hubert and Arabie 1985) of each class's poses; `all`: of the
    names over all classes; `same_name`: share of images that carry the name most frequent in
    their true pose.
    """
    import pandas as pd
    from sklearn.metrics import adjusted_rand_score

    truth = dataset.catalogue["pose"].to_numpy().astype(str)
    known = table[(truth != "") & (table["split"] == "train").to_numpy()]
    if known.empty:
        return None
    true = pd.Series(truth, index=table.index)[known.index]
    usual = known["pose"].groupby(true).agg(lambda names: names.mode()[0])
    return {
        "classes": {
            c: float(adjusted_rand_score(true[known["class"] == c], own["pose"]))
            for c, own in known.groupby("class")
        },
        "all": float(adjusted_rand_score(true, known["pose"])),
        "same_name": float((known["pose"] == true.map(usual)).mean()),
    }


def _keep(
    dataset: Dataset,
    table: "pd.DataFrame",
    facts: dict[str, Any],
    points: "np.ndarray | PoseClustering",
) -> PoseClustering:
    """Write a new version; `points` may be those of another, which are then shared."""
    facts = facts | {"agreement": agreement(dataset, table)}
    with new_version(dataset.path) as aside:
        table.to_csv(aside / "assignments.csv", index=False, float_format="%.6g")
        if isinstance(points, PoseClustering):
            _link(points.path / "points.npy", aside / "points.npy")
        else:
            np.save(aside / "points.npy", points)
        write_json(aside / "clustering.json", facts)
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
            ks = ", ".join(f"{c}/0 to {c}/{k - 1}" for c, k in clustering.facts["ks"].items())
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
    if not name or "," in name or not name.isprintable() or len(name) > 64:
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
    facts = clustering.facts | {"corrections": [*clustering.corrections, told]}
    return _keep(dataset, table, facts, clustering)


def poses_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = PosesConfig.build(**run.config)
    clustering = cluster_poses(open_dataset(workspace, config.dataset), config, run)
    return {"dataset": config.dataset, **summary(clustering)}


def summary(clustering: PoseClustering) -> dict[str, Any]:
    """What the command line prints of a clustering; `counts` are of training images."""
    facts, table = clustering.facts, clustering.training
    sizes = (table["class"] + "/" + table["pose"]).value_counts(sort=False).sort_index()
    link = clustering.path.parent.parent / "poses"  # stays the same over later versions
    return {
        "extractor": facts["extractor"],
        "features": EXTRACTORS[facts["extractor"]].title,
        "k": facts["k"] if facts["k"] is not None else facts["ks"],
        "ks": facts["ks"],
        "elbow": facts["elbow"],
        "elbows": facts["elbows"],
        "silhouette": facts["silhouette"],
        "stability": facts["stability"],
        "agreement": facts["agreement"],
        "poses": clustering.poses,
        "counts": {str(name): int(n) for name, n in sizes.items()},
        "corrections": clustering.corrections,
        "assignments": str(link / "assignments.csv"),
    }
