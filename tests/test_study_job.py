"""A study over several seeds: each draws its own skew and trains its own generators."""

from typing import Any

import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.spec import generator_specs
from rebalance_core.poses.clustering import cluster_poses, open_clustering
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import list_runs, view_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.study import StudyConfig, _one_pose, _Steps, _training_set, study_job
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import list_sets, make_set, open_set
from rebalance_core.workspace import Workspace


def study(workspace: Workspace, **values: Any) -> dict[str, Any]:
    config = StudyConfig.build(dataset="phantom", arms=("none", "smote"), seeds=(0, 1), **values)
    path = create_run(workspace, "study", config.model_dump(mode="json"), name="study")
    return dict(study_job(workspace, RunDirectory(path)))


@pytest.mark.usefixtures("smote")
def test_each_seed_of_a_study_has_its_own_skew_and_generator(
    workspace: Workspace, phantom: Dataset
) -> None:
    result = study(workspace, skew="step:10")
    assert list_sets(workspace) == ["phantom-quick", "phantom-quick-seed1"]
    first, second = (open_set(workspace, name) for name in list_sets(workspace))
    assert first.counts == second.counts
    assert set(first.train) != set(second.train)
    assert set(result["steps"]) == {
        "poses",
        "train smote, seed 0",
        "sample smote, seed 0",
        "train smote, seed 1",
        "sample smote, seed 1",
        "compare",
    }
    comparison = view_run(workspace.runs / result["steps"]["compare"])
    synthetic = read_json(comparison.path / "result" / "synthetic.json")
    assert synthetic == {
        "smote, seed 0": "phantom-quick-smote",
        "smote, seed 1": "phantom-quick-seed1-smote",
    }
    for name, training_set in zip(synthetic.values(), (first, second), strict=True):
        assert open_synthetic(workspace, name).training_set == training_set
    assert "generator redrawn each time" in result["answer"]
    steps = [v for v in list_runs(workspace) if v.kind != "study"]
    assert {v.status for v in steps} == {"done"}


@pytest.mark.parametrize(
    ("names", "set_name"),
    [
        (["scans", "scans-quick"], "scans-quick-2"),  # a dataset has the first name
        (["a" * 64], "a" * 62 + "-2"),
    ],
)
def test_the_training_set_of_a_study_gets_a_name_that_is_free_and_valid(
    workspace: Workspace, names: list[str], set_name: str
) -> None:
    datasets = [
        import_dataset(
            workspace, ImportConfig(name=name, source="phantom", count=240, size=32), MemoryRun()
        )
        for name in names
    ]
    config = StudyConfig.build(dataset=names[0])
    set_names = []
    for _ in range(2):  # a second study uses the set of the first
        path = create_run(workspace, "study", config.model_dump(mode="json"), name="study")
        steps = _Steps(workspace, RunDirectory(path))
        set_names.append(_training_set(workspace, datasets[0], config, steps).name)
    assert set_names == [set_name, set_name]


def test_the_paper_trains_bagan_gp_on_the_most_frequent_pose_that_every_class_has(
    workspace: Workspace, phantom: Dataset
) -> None:
    cluster_poses(phantom, PosesConfig(dataset="phantom", k=2), MemoryRun())
    training_set = make_set(workspace, "full", SetConfig(dataset="phantom"))
    path = create_run(workspace, "study", {"dataset": "phantom"}, name="study")
    posed = _one_pose(workspace, _Steps(workspace, RunDirectory(path)), training_set)
    table = open_clustering(phantom).training
    in_set = table[table["image"].isin(training_set.train)]
    counts = in_set.groupby("pose")["class"].agg(["nunique", "size"])
    complete = counts[counts["nunique"] == 4]["size"]
    assert posed.config.poses == (complete.idxmax(),)
    assert len(posed.train) == complete.max() < len(training_set.train)
    assert set(posed.train) < set(training_set.train)
    assert open_set(workspace, "full-pose") == posed
    # resumed, the study finds the same set
    assert _one_pose(workspace, _Steps(workspace, RunDirectory(path)), training_set) == posed
    assert [name for name, spec in generator_specs().items() if spec.fixed_pose] == ["bagan-gp"]
