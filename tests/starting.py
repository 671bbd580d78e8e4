"""Runs of any config, right or wrong, handed to a process without the checks of `start_run`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import RunView, spawn, view_run
from rebalance_core.workspace import Workspace


def submit(
    workspace: Workspace,
    kind: str,
    config: Mapping[str, Any],
    *,
    name: str,
    seed: int = 0,
    parents: Sequence[str] = (),
) -> RunView:
    path = create_run(workspace, kind, config, name=name, seed=seed, parents=parents)
    spawn(workspace, path)
    return view_run(path)
