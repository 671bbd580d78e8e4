"""K-means per class finds the phantom's true poses and gives them one name in all classes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.datasets.training_set import SetConfig, resolve_set
from rebalance_core.errors import UserError
from rebalance_core.images import png_bytes
from rebalance_core.poses.clustering import (
    PoseClustering,
    PosesConfig,
    cluster_poses,
    elbow,
    has_clustering,
    match_clusters,
    open_clustering,
    summary,
)
from rebalance_core.poses.features import dataset_features
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

TRAIN = {"glioma": 18, "meningioma": 18, "notumor": 96, "pituitary": 18}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """K-means on so few points only waits for its threads."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def brains(home: Workspace) -> Dataset:
    """200 phantoms of 64 px, clustered with k by the elbow."""
    config = ImportConfig(name="brains", source="phantom", count=200, size=64)
    dataset = import_dataset(home, config, MemoryRun())
    assert not has_clustering(dataset)
    cluster_poses(dataset, PosesConfig(dataset="brains"), MemoryRun())
    return dataset


@pytest.fixture(scope="module")
def clustering(brains: Dataset) -> PoseClustering:
    return open_clustering(brains)


@pytest.fixture(scope="module")
def table(brains: Dataset, clustering: PoseClustering) -> pd.DataFrame:
    """The assignments with the true pose beside."""
    truth = brains.catalogue[["image", "pose"]].rename(columns={"pose": "truth"})
    return clustering.assignments.merge(truth, on="image", validate="one_to_one")


def dataset_of(workspace: Workspace, folder: Path, images: dict[str, np.ndarray]) -> Dataset:
    for label, stack in images.items():
        (folder / label).mkdir(parents=True)
        for number, image in enumerate(stack):
            (folder / label / f"{number:03d}.png").write_bytes(png_bytes(image))
    config = ImportConfig(name="made", source=str(folder))
    return import_dataset(workspace, config, MemoryRun())


def test_the_elbow_finds_the_three_poses(clustering: PoseClustering) -> None:
    facts = clustering.facts
    assert (facts["k"], facts["elbow"]) == (3, 3)
    assert facts["elbows"] == dict.fromkeys(TRAIN, 3)
    assert facts["ks"] == list(range(1, 11))
    for inertia in facts["inertia"].values():
        assert inertia == sorted(inertia, reverse=True)
    assert min(facts["silhouette"].values()) > 0


def test_training_images_are_clustered_and_no_test_image(
    brains: Dataset, clustering: PoseClustering
) -> None:
    catalogue = brains.catalogue
    chosen = catalogue.loc[catalogue["split"] == "train", "image"]
    assert clustering.assignments["image"].tolist() == chosen.tolist()
    assert clustering.assignments["class"].value_counts().to_dict() == TRAIN


@pytest.mark.parametrize("label", TRAIN)
def test_each_class_falls_into_its_true_poses(table: pd.DataFrame, label: str) -> None:
    mine = table[table["class"] == label]
    assert adjusted_rand_score(mine["truth"], mine["pose"]) >= 0.9


def test_a_true_pose_has_one_name_in_all_classes(table: pd.DataFrame) -> None:
    assert adjusted_rand_score(table["truth"], table["pose"]) >= 0.9
    usual = table.groupby("truth")["pose"].agg(lambda names: names.mode()[0])
    assert sorted(usual) == ["pose 1", "pose 2", "pose 3"]
    assert (table["pose"] == table["truth"].map(usual)).mean() >= 0.95


def test_the_nearest_lie_at_the_centre_and_the_farthest_at_the_rim(
    clustering: PoseClustering,
) -> None:
    mine = clustering.assignments.query("`class` == 'notumor' and pose == 'pose 1'")
    distances = mine.set_index("image")["distance"]
    nearest = clustering.nearest("notumor", "pose 1", 5)
    farthest = clustering.nearest("notumor", "pose 1", 5, farthest=True)
    assert distances[nearest].tolist() == sorted(distances)[:5]
    assert distances[farthest].tolist() == sorted(distances, reverse=True)[:5]
    assert len(clustering.nearest("notumor", "pose 1", 10_000)) == len(mine)
    assert clustering.nearest("notumor", "pose 9", 5) == []


def test_the_summary_counts_every_cluster(clustering: PoseClustering) -> None:
    counts = summary(clustering)["counts"]
    assert sorted(counts) == [f"{c}/pose {k}" for c in sorted(TRAIN) for k in (1, 2, 3)]
    for label, images in TRAIN.items():
        assert sum(n for name, n in counts.items() if name.startswith(f"{label}/")) == images


def test_a_set_of_some_poses_learns_from_these_and_is_tested_on_all(
    home: Workspace, clustering: PoseClustering
) -> None:
    whole = resolve_set(home, "whole", SetConfig(dataset="brains"))
    chosen = resolve_set(home, "some", SetConfig(dataset="brains", poses=("pose 1", "pose 3")))
    pose = clustering.assignments.set_index("image")["pose"]
    assert set(pose[[*chosen.train, *chosen.validation]]) == {"pose 1", "pose 3"}
    assert len(chosen.train) + len(chosen.validation) == int((pose != "pose 2").sum())
    assert chosen.test == whole.test
    with pytest.raises(UserError) as told:
        resolve_set(home, "other", SetConfig(dataset="brains", poses=("axial",)))
    assert str(told.value) == "Dataset brains has no pose axial; it has pose 1, pose 2, pose 3."


def test_features_are_computed_once(brains: Dataset) -> None:
    cache = brains.path / "features" / "hog.npz"
    written = cache.stat().st_mtime_ns
    rows = np.flatnonzero(brains.catalogue["split"] == "train")
    whole = dataset_features(brains, rows, MemoryRun())
    assert (whole.shape, whole.dtype) == ((150, 7 * 7 * 2 * 2 * 9), np.float32)
    backwards = dataset_features(brains, rows[::-1], MemoryRun())
    assert np.array_equal(backwards, whole[::-1])
    assert cache.stat().st_mtime_ns == written


def test_k_by_hand_wins_and_the_same_seed_clusters_alike(
    workspace: Workspace, phantom: Dataset
) -> None:
    config = PosesConfig(dataset="phantom", k=2, restarts=1)
    first = cluster_poses(phantom, config, MemoryRun())
    again = cluster_poses(phantom, config, MemoryRun())
    assert first.poses == ["pose 1", "pose 2"]
    assert first.facts["k"] == 2
    assert first.assignments.equals(again.assignments)
    assert first.facts == again.facts
    assert not list(phantom.path.glob(".poses*"))


@pytest.mark.parametrize(("k", "words"), [(12, "12 clusters"), (50, "50 clusters")])
def test_more_clusters_than_images_of_a_class_are_refused(
    phantom: Dataset, k: int, words: str
) -> None:
    with pytest.raises(UserError) as told:
        cluster_poses(phantom, PosesConfig(dataset="phantom", k=k), MemoryRun())
    assert str(told.value) == (
        f"A class of phantom has 11 training images, too few for {words}; "
        "choose a smaller k or add images."
    )
    assert not has_clustering(phantom)


def test_images_that_look_the_same_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    flat = np.full((3, 16, 16), 90, np.uint8)
    dataset = dataset_of(workspace, tmp_path / "flat", {"cat": flat, "dog": flat + 40})
    with pytest.raises(UserError) as told:
        cluster_poses(dataset, PosesConfig(dataset="made"), MemoryRun())
    assert str(told.value) == "All images of made look the same; there is nothing to cluster."
    assert not has_clustering(dataset)


def test_a_class_of_one_look_has_no_elbow_and_does_not_sway_the_others(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Twelve black images beside three clear looks of another class."""
    rng = np.random.default_rng(0)
    looks = [np.zeros((64, 64)) for _ in range(3)]
    looks[0][:, ::16], looks[1][::16], looks[2][20:40, 20:40] = 255, 255, 255
    stack = np.stack([looks[k % 3] + rng.normal(0, 9, (64, 64)) for k in range(30)])
    stack = stack.clip(0, 255).astype(np.uint8)
    black = np.zeros((12, 64, 64), np.uint8)
    dataset = dataset_of(workspace, tmp_path / "mixed", {"black": black, "looks": stack})
    facts = cluster_poses(dataset, PosesConfig(dataset="made"), MemoryRun()).facts
    assert facts["elbows"] == {"black": None, "looks": 3}
    assert facts["k"] == 3


def test_clusters_are_matched_by_their_centroids() -> None:
    corners = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    moved = corners[[2, 0, 1]] + 0.5
    turned = corners[[1, 2, 0]] - 0.5
    names = match_clusters([corners, moved, turned])
    assert [name.tolist() for name in names] == [[0, 1, 2], [2, 0, 1], [1, 2, 0]]


def test_matching_is_optimal_as_a_whole_not_greedy() -> None:
    """9 is nearest to 10, but the pair {0 with -30, 10 with 9} would cost more."""
    names = match_clusters([np.array([[0.0], [10.0]]), np.array([[9.0], [21.0]])])
    assert [name.tolist() for name in names] == [[0, 1], [0, 1]]


def test_matching_follows_the_mean_of_those_matched() -> None:
    """The third class is nearer to the mean 8 of 0 and 16 than to 0 itself."""
    names = match_clusters(
        [np.array([[0.0], [30.0]]), np.array([[16.0], [46.0]]), np.array([[23.0], [17.0]])]
    )
    assert [name.tolist() for name in names] == [[0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("inertia", "found"),
    [
        ([100, 60, 20, 18, 16, 14, 12, 10, 8, 6], 3),
        ([100, 20, 18, 16, 14, 12, 10, 8, 6, 4], 2),
        ([100, 80, 60, 40, 20, 19, 18, 17, 16, 15], 5),
        ([100, 90, 80, 70, 60, 50, 40, 30, 20, 10], None),
        ([100, 20], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_the_elbow_is_where_the_curve_bends(inertia: list[int], found: int | None) -> None:
    assert elbow(np.array(inertia, dtype=float)) == found
