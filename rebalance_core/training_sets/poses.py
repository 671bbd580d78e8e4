"""The job that clusters a dataset by pose, fitted on all training images or those of a set."""

from collections.abc import Mapping
from typing import Any

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.clustering import cluster_poses, summary
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace


def check_poses(workspace: Workspace, config: PosesConfig) -> None:
    """Raise UserError where the training set is not one of the dataset, as it is now."""
    _images(workspace, config)


def poses_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = PosesConfig.build(**run.config)
    dataset = open_dataset(workspace, config.dataset)
    clustering = cluster_poses(dataset, config, run, _images(workspace, config))
    return {"dataset": config.dataset, **summary(clustering)}


def _images(workspace: Workspace, config: PosesConfig) -> tuple[str, ...] | None:
    """The training images of the set to fit on; None without a set."""
    if config.set is None:
        return None
    training_set = open_set(workspace, config.set)
    if training_set.fingerprint != open_dataset(workspace, config.dataset).fingerprint:
        raise UserError(
            f"Training set {config.set} is not of dataset {config.dataset} as it is now; choose "
            "one of that dataset, or make the set again with `sets make`."
        )
    return training_set.train
