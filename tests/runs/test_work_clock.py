"""Seconds of work are counted over all starts of a run, without the time between them."""

import time

import pytest

from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.records import read_state
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace


def test_work_before_an_interruption_counts_and_waiting_does_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path = create_run(workspace, "poses", {"dataset": "d"}, name="r")
    first = RunDirectory(path)
    assert read_state(path).work_seconds is None
    first.start_clock()
    now[0] += 50
    first.write_state("running")
    now[0] += 7  # killed here: the last heartbeat counts
    assert read_state(path).work_seconds == 50
    waiting = RunDirectory(path)  # queued again, by another process
    now[0] += 1000
    waiting.write_state("queued")
    assert read_state(path).work_seconds == 50
    second = RunDirectory(path)
    second.start_clock()
    now[0] += 10
    second.end("done")
    assert read_state(path).work_seconds == 60


def test_a_run_of_an_earlier_version_has_the_seconds_of_its_last_start(
    workspace: Workspace,
) -> None:
    path = create_run(workspace, "poses", {"dataset": "d"}, name="r")
    state = read_json(path / "state.json")
    state.pop("worked", None)
    write_json(path / "state.json", {**state, "started": 5.0, "finished": 12.5})
    assert read_state(path).work_seconds == 7.5
