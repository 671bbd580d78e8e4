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
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses.clustering import (
    PoseClustering,
    cluster_poses,
    has_clustering,
    open_clustering,
    summary,
)
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace

TRAIN = {"glioma": 18, "meningioma": 18, "notumor": 96, "pituitary": 18}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: K-means of few points is faster with it."""
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
    """The assignments with a column of true poses."""
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
    record = clustering.record
    assert (record.k, record.elbow) == (3, 3)
    assert record.elbows == dict.fromkeys(TRAIN, 3)
    assert record.ks == dict.fromkeys(TRAIN, 3)
    assert record.tried == list(range(1, 11))
    for curve in record.silhouettes.values():
        assert curve[0] is None
        assert curve.index(max(curve[1:])) == 2, "k = 3 also by silhouette"
    for inertia in record.inertia.values():
        assert inertia == sorted(inertia, reverse=True)
    assert min(record.silhouette.values()) > 0


def test_every_image_has_a_row_in_the_order_of_the_catalogue(
    brains: Dataset, clustering: PoseClustering
) -> None:
    table = clustering.assignments
    assert list(table.columns[:4]) == ["image", "class", "cluster", "pose"]
    assert table["image"].tolist() == brains.catalogue["image"].tolist()
    assert table["split"].tolist() == brains.catalogue["split"].tolist()
    assert clustering.training["class"].value_counts().to_dict() == TRAIN


def test_test_images_do_not_change_the_clustering_of_training_images(
    workspace: Workspace, tmp_path: Path, clustering: PoseClustering, brains: Dataset
) -> None:
    """The same training images with other test images give exactly the same clusters.

    Their distances are equal up to rounding: features are computed in batches, which differ.
    """
    source = tmp_path / "source"
    for image, label, split in brains.catalogue[["image", "class", "split"]].itertuples(
        index=False
    ):
        data = brains.read_original(image)
        if split == "test":
            data = png_bytes(np.random.default_rng(len(data)).integers(0, 255, (64, 64), np.uint8))
        target = source / ("Training" if split == "train" else "Testing") / label / Path(image).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    other = import_dataset(workspace, ImportConfig(name="o", source=str(source)), MemoryRun())
    other_clustering = cluster_poses(other, PosesConfig(dataset="o"), MemoryRun())
    for label, inertia in clustering.record.inertia.items():
        assert other_clustering.record.inertia[label] == pytest.approx(inertia, rel=1e-6)
    names, numbers = ["image", "cluster", "pose"], ["distance", "x", "y", "z"]
    rows = clustering.training.reset_index(drop=True)
    other_rows = other_clustering.training.reset_index(drop=True)
    assert other_rows[names].equals(rows[names])
    assert other_rows[numbers].to_numpy() == pytest.approx(rows[numbers].to_numpy(), abs=1e-4)


def test_test_images_are_assigned_to_the_nearest_centre(table: pd.DataFrame) -> None:
    unseen = table[table["split"] == "test"]
    usual = table[table["split"] == "train"].groupby("truth")["pose"].agg(lambda n: n.mode()[0])
    assert (unseen["pose"] == unseen["truth"].map(usual)).mean() >= 0.95


def test_the_clustering_is_evaluated(clustering: PoseClustering, table: pd.DataFrame) -> None:
    record = clustering.record
    rows = table[(table["class"] == "notumor") & (table["split"] == "train")]
    index = adjusted_rand_score(rows["truth"], rows["pose"])
    assert record.agreement.classes["notumor"] == pytest.approx(index)
    assert record.agreement.same_name >= 0.95
    assert set(record.stability) == set(record.silhouette) == set(TRAIN)
    assert all(0 < value <= 1 for value in record.stability.values())


@pytest.mark.parametrize("label", TRAIN)
def test_clusters_of_each_class_are_its_true_poses(table: pd.DataFrame, label: str) -> None:
    rows = table[(table["class"] == label) & (table["split"] == "train")]
    assert adjusted_rand_score(rows["truth"], rows["pose"]) >= 0.9


def test_a_true_pose_has_one_name_in_all_classes(table: pd.DataFrame) -> None:
    assert adjusted_rand_score(table["truth"], table["pose"]) >= 0.9
    usual = table.groupby("truth")["pose"].agg(lambda names: names.mode()[0])
    assert sorted(usual) == ["pose 1", "pose 2", "pose 3"]
    assert (table["pose"] == table["truth"].map(usual)).mean() >= 0.95


def test_nearest_and_farthest_images_are_those_by_distance(clustering: PoseClustering) -> None:
    rows = clustering.training.query("`class` == 'notumor' and pose == 'pose 1'")
    distances = rows.set_index("image")["distance"]
    nearest = clustering.nearest("notumor", "pose 1", 5)
    farthest = clustering.nearest("notumor", "pose 1", 5, farthest=True)
    assert distances[nearest].tolist() == sorted(distances)[:5]
    assert distances[farthest].tolist() == sorted(distances, reverse=True)[:5]
    assert len(clustering.nearest("notumor", "pose 1", 10_000)) == len(rows)
    assert clustering.nearest("notumor", "pose 9", 5) == []


def test_the_summary_counts_every_cluster(clustering: PoseClustering) -> None:
    counts = summary(clustering)["counts"]
    assert sorted(counts) == [f"{c}/pose {k}" for c in sorted(TRAIN) for k in (1, 2, 3)]
    for label, images in TRAIN.items():
        assert sum(n for name, n in counts.items() if name.startswith(f"{label}/")) == images


def test_a_set_of_some_poses_trains_on_these_and_is_tested_on_all(
    home: Workspace, clustering: PoseClustering
) -> None:
    full_set = resolve_set(home, "whole", SetConfig(dataset="brains"))
    posed_set = resolve_set(home, "some", SetConfig(dataset="brains", poses=("pose 1", "pose 3")))
    pose = clustering.assignments.set_index("image")["pose"]
    assert set(pose[[*posed_set.train, *posed_set.validation]]) == {"pose 1", "pose 3"}
    assert len(posed_set.train) + len(posed_set.validation) == int(
        (clustering.training["pose"] != "pose 2").sum()
    )
    assert posed_set.test == full_set.test
    with pytest.raises(UserError) as excinfo:
        resolve_set(home, "other", SetConfig(dataset="brains", poses=("axial",)))
    assert str(excinfo.value) == "Dataset brains has no pose axial; it has pose 1, pose 2, pose 3."


def test_a_given_k_is_used_and_the_same_seed_gives_the_same_clusters(
    workspace: Workspace, phantom: Dataset
) -> None:
    config = PosesConfig(dataset="phantom", k=2, restarts=1)
    first = cluster_poses(phantom, config, MemoryRun())
    again = cluster_poses(phantom, config, MemoryRun())
    assert first.poses == ["pose 1", "pose 2"]
    assert first.record.k == 2
    assert first.assignments.equals(again.assignments)
    assert first.record == again.record
    assert sorted(p.name for p in phantom.path.glob(".*")) == [".poses.lock"]


@pytest.mark.parametrize("k", [12, 500])
def test_a_class_has_at_most_as_many_clusters_as_training_images(phantom: Dataset, k: int) -> None:
    record = cluster_poses(phantom, PosesConfig(dataset="phantom", k=k), MemoryRun()).record
    sizes = phantom.counts()["train"]
    assert sizes["glioma"] == 11
    assert record.ks == {label: min(k, size) for label, size in sizes.items()}


@pytest.mark.parametrize("k", ["none", 0, -3, 2.5, True])
def test_an_invalid_number_of_clusters_is_refused(k: object) -> None:
    with pytest.raises(UserError, match="use auto, per-class or a number from 1"):
        PosesConfig.build(dataset="phantom", k=k)


def test_a_class_of_two_images(workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    two, many = (rng.integers(0, 255, (n, 32, 32), dtype=np.uint8) for n in (2, 12))
    dataset = dataset_of(workspace, tmp_path / "tiny", {"cat": two, "dog": many})
    for k in ("auto", "per-class", 3):
        record = cluster_poses(dataset, PosesConfig(dataset="made", k=k), MemoryRun()).record
        assert record.ks["cat"] == 2
        assert record.ks["dog"] == {
            "auto": record.elbow or 3,
            "per-class": record.elbows["dog"] or 3,
        }.get(str(k), 3)
        assert record.tried == [*range(1, 11)]
        assert record.elbows["cat"] is None
        assert record.inertia["cat"][1:] == pytest.approx([0] * 9, abs=1e-3)
    record = cluster_poses(dataset, PosesConfig(dataset="made", k=2), MemoryRun()).record
    assert record.ks == {"cat": 2, "dog": 2}
    assert record.silhouette["cat"] is None


def test_classes_may_have_different_k(workspace: Workspace, tmp_path: Path) -> None:
    """Two clusters of one class, four of another, with common names."""
    rng = np.random.default_rng(0)
    looks = np.zeros((4, 64, 64))
    looks[0][8:56, 8:56] = 200
    looks[1][28:36] = 200
    looks[2][:, 28:36] = 200
    looks[3][np.tri(64, dtype=bool)] = 200

    def stack(kinds: int) -> np.ndarray:
        images = np.stack([looks[n % kinds] for n in range(40)])
        return (images + rng.normal(0, 6, images.shape)).clip(0, 255).astype(np.uint8)

    dataset = dataset_of(workspace, tmp_path / "own", {"four": stack(4), "two": stack(2)})
    clustering = cluster_poses(dataset, PosesConfig(dataset="made", k="per-class"), MemoryRun())
    assert clustering.record.ks == {"four": 4, "two": 2}
    assert clustering.record.k is None
    look = np.arange(40) % 4
    names = clustering.assignments.groupby("class")["pose"].agg(list)
    by_look = [set(np.array(names["four"])[look == k]) for k in range(4)]
    assert [len(found) for found in by_look] == [1, 1, 1, 1]
    assert set(np.array(names["two"])[np.arange(40) % 2 == 0]) == by_look[0]
    assert set(np.array(names["two"])[np.arange(40) % 2 == 1]) == by_look[1]


def test_images_that_look_the_same_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    flat = np.full((5, 16, 16), 90, np.uint8)
    dataset = dataset_of(workspace, tmp_path / "flat", {"cat": flat, "dog": flat + 40})
    with pytest.raises(UserError) as excinfo:
        cluster_poses(dataset, PosesConfig(dataset="made"), MemoryRun())
    assert (
        str(excinfo.value)
        == "All images of made look the same; add different images to cluster them."
    )
    assert not has_clustering(dataset)


def test_a_class_of_equal_images_has_no_elbow_and_does_not_affect_the_mean(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Twelve black images, and three clear clusters of another class."""
    rng = np.random.default_rng(0)
    looks = [np.zeros((64, 64)) for _ in range(3)]
    looks[0][:, ::16], looks[1][::16], looks[2][20:40, 20:40] = 255, 255, 255
    stack = np.stack([looks[k % 3] + rng.normal(0, 9, (64, 64)) for k in range(30)])
    stack = stack.clip(0, 255).astype(np.uint8)
    black = np.zeros((12, 64, 64), np.uint8)
    dataset = dataset_of(workspace, tmp_path / "mixed", {"black": black, "looks": stack})
    record = cluster_poses(dataset, PosesConfig(dataset="made"), MemoryRun()).record
    assert record.elbows == {"black": None, "looks": 3}
    assert record.k == 3
