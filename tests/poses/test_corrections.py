"""Manual corrections are kept, are discarded only on request, and can be undone."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.poses import versions
from rebalance_core.poses.clustering import (
    cluster_poses,
    move_cluster,
    move_images,
    open_clustering,
    recluster,
    rename_pose,
)
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.versions import can_undo, new_version, undo_change
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small clustered phantom, to be copied."""
    workspace = Workspace(tmp_path_factory.mktemp("kept"))
    config = ImportConfig(name="p", source="phantom", count=120, size=32)
    dataset = import_dataset(workspace, config, MemoryRun())
    cluster_poses(dataset, PosesConfig(dataset="p", k=3, restarts=2), MemoryRun())
    return workspace.root


@pytest.fixture
def clustered(root: Path, workspace: Workspace) -> Dataset:
    from rebalance_core.datasets.dataset import open_dataset

    shutil.copytree(root, workspace.root, symlinks=True)
    return open_dataset(workspace, "p")


def poses_of(dataset: Dataset) -> "pd.Series[str]":
    """{image: pose}, read from disk."""
    return open_clustering(dataset).assignments.set_index("image")["pose"]


def test_a_pose_is_renamed_in_all_classes(clustered: Dataset, workspace: Workspace) -> None:
    before = poses_of(clustered)
    rename_pose(clustered, "pose 2", " axial ")
    assert poses_of(clustered).equals(before.replace("pose 2", "axial"))
    assert open_clustering(clustered).corrections == ["pose 2 renamed to axial"]
    training_set = resolve_set(workspace, "some", SetConfig(dataset="p", poses=("axial",)))
    assert set(poses_of(clustered)[[*training_set.train, *training_set.validation]]) == {"axial"}


def test_a_cluster_is_moved_whole(clustered: Dataset) -> None:
    table = open_clustering(clustered).assignments
    mask = (table["class"] == "glioma") & (table["cluster"] == 1)
    others = poses_of(clustered)[~mask.to_numpy()]
    move_cluster(clustered, "glioma", 1, "oblique")
    after = poses_of(clustered)
    assert set(after[mask.to_numpy()]) == {"oblique"}
    assert after[~mask.to_numpy()].equals(others)
    assert open_clustering(clustered).assignments["cluster"].equals(table["cluster"])


def test_single_images_are_moved(clustered: Dataset) -> None:
    before = poses_of(clustered)
    images = [before.index[3], before.index[77]]
    move_images(clustered, images, "pose 3")
    after = poses_of(clustered)
    assert list(after[images]) == ["pose 3", "pose 3"]
    assert after.drop(images).equals(before.drop(images))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda d: rename_pose(d, "pose 9", "axial"),
            "Dataset p has no pose pose 9; it has pose 1, pose 2, pose 3.",
        ),
        (
            lambda d: rename_pose(d, "pose 1", "pose 2"),
            "Dataset p already has a pose pose 2; to merge the two, move the clusters of pose 1 "
            "there with `poses move`.",
        ),
        (lambda d: rename_pose(d, "pose 1", " "), "' ' is not a valid"),
        (
            lambda d: move_images(d, ["no.png"], "pose 1"),
            "Dataset p has no image 'no.png'; use an id from assignments.csv.",
        ),
        (lambda d: move_images(d, [], "pose 1"), "Dataset p has no image ''"),
        (lambda d: move_images(d, [d.catalogue["image"][0]], "a,b"), "'a,b' is not a valid name"),
        (
            lambda d: move_cluster(d, "glioma", 3, "pose 1"),
            "Cluster glioma/3 does not exist; choose from glioma/0 to glioma/2, meningioma/0 to "
            "meningioma/2, notumor/0 to notumor/2, pituitary/0 to pituitary/2.",
        ),
        (lambda d: undo_change(d.path), "The poses of p have no earlier version."),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    clustered: Dataset, change: object, sentence: str
) -> None:
    before = poses_of(clustered)
    with pytest.raises(UserError) as excinfo:
        change(clustered)  # type: ignore[operator]
    assert str(excinfo.value).startswith(sentence.replace("' '", "''"))
    assert poses_of(clustered).equals(before)


def test_clustering_again_is_refused_where_corrections_would_be_lost(clustered: Dataset) -> None:
    rename_pose(clustered, "pose 1", "axial")
    move_images(clustered, [clustered.catalogue["image"][0]], "axial")
    before = poses_of(clustered)
    config = PosesConfig(dataset="p", k=2, restarts=2)
    for again in (
        lambda: recluster(clustered, 2),
        lambda: cluster_poses(clustered, config, MemoryRun()),
    ):
        with pytest.raises(UserError) as excinfo:
            again()
        assert str(excinfo.value) == (
            "The poses of p have 2 manual correction(s), which clustering again would lose; pass "
            "--discard-corrections to discard them."
        )
        assert poses_of(clustered).equals(before)
    assert recluster(clustered, 2, discard_corrections=True).poses == ["pose 1", "pose 2"]
    assert open_clustering(clustered).corrections == []


def test_every_change_can_be_undone_step_by_step(clustered: Dataset) -> None:
    states = [poses_of(clustered)]
    for change in (
        lambda: rename_pose(clustered, "pose 1", "axial"),
        lambda: move_cluster(clustered, "notumor", 0, "other"),
        lambda: recluster(clustered, 2, discard_corrections=True),
    ):
        change()
        states.append(poses_of(clustered))
    for state in states[-2::-1]:
        undo_change(clustered.path)
        assert poses_of(clustered).equals(state)
    assert not can_undo(clustered.path)


def test_reclustering_equals_clustering_from_scratch(clustered: Dataset) -> None:
    quick = recluster(clustered, 2)
    scratch = cluster_poses(clustered, PosesConfig(dataset="p", k=2, restarts=2), MemoryRun())
    assert quick.assignments.equals(scratch.assignments)
    assert quick.record == scratch.record
    assert recluster(clustered, "auto").record.k == 3


def test_a_small_class_gets_as_many_clusters_as_training_images(clustered: Dataset) -> None:
    sizes = clustered.counts()["train"]
    assert sizes["glioma"] == 11
    assert recluster(clustered, 12).record.ks == {c: min(12, n) for c, n in sizes.items()}


def test_a_kill_at_any_moment_leaves_a_complete_version(
    clustered: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer dies before each of its renames in turn; readers see complete versions."""
    before = poses_of(clustered)
    renames, fatal = 0, [0]
    for name in ("rename", "replace"):
        original = getattr(os, name)

        def dying(*arguments: object, do: object = original) -> None:
            nonlocal renames
            renames += 1
            if renames == fatal[0]:
                raise KeyboardInterrupt
            do(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(os, name, dying)
    for number in (1, 2, 3, 4):
        renames, fatal[0] = 0, number
        try:
            rename_pose(clustered, "pose 1", "axial")
        except KeyboardInterrupt:
            assert poses_of(clustered).equals(before)
            continue
        break
    assert fatal[0] > 2, "there were moments to die at"
    assert poses_of(clustered).equals(before.replace("pose 1", "axial"))


def test_points_are_shared_and_old_versions_are_removed(
    clustered: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MAX_VERSIONS", 3)
    for number in range(5):
        rename_pose(clustered, "pose 1" if number == 0 else f"name {number - 1}", f"name {number}")
    paths = sorted((clustered.path / "pose-versions").iterdir())
    assert len(paths) == 3
    assert len({(p / "points.npy").stat().st_ino for p in paths}) == 1
    assert "name 4" in open_clustering(clustered).poses


def test_an_incomplete_version_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="torn"), new_version(tmp_path) as aside:
        (aside / "file").write_text("half")
        raise ValueError("torn")
    assert versions.current_version(tmp_path) is None
    assert list((tmp_path / "pose-versions").iterdir()) == []
