"""A grid of cells killed with -9 at random moments: nothing is trained twice, nothing is missing.

Two kills in `make test`, ten in `make chaos`.
"""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from fire import ended, until
from products import numbers
from sets import synthetic_set
from starting import submit

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.job import best_classifier
from rebalance_core.comparison.records import read_cells
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.runs.executor import RunView, resume, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import CHECKPOINT_VARIABLE
from rebalance_core.system.files import read_json
from rebalance_core.workspace import Workspace

EPOCHS, ARMS, SEEDS = 3, ("none", "oversample", "augment+ddpm"), (0, 1)
LINES = EPOCHS * len(ARMS) * len(SEEDS)


def killed_after(view: RunView, lines: int) -> RunView:
    """Kill the run as soon as it has told of so many epochs."""

    def told() -> int:
        return sum("cell" in m for m in read_metrics(view.path))

    until(
        lambda: told() >= lines or not view_run(view.path).live,
        lambda: (view_run(view.path).state, (view.path / "log.txt").read_text()),
    )
    running = view_run(view.path)
    assert running.live, "it ended before it could be killed"
    os.killpg(running.state.pid, signal.SIGKILL)
    return ended(view)


def cell_times(run: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (run / "result" / "cells").glob("[!.]*.json")}


def under_fire(workspace: Workspace, moments: Sequence[int]) -> None:
    synthetic_set(workspace, "ddpm", "phantom")
    config = CompareConfig.from_preset(
        "quick",
        set="phantom",
        arms=ARMS,
        seeds=SEEDS,
        amounts="10",
        schedules=("until:2",),
        reuse=False,
        classifier={
            "size": 16,
            "epochs": EPOCHS,
            "lr": 0.01,
            "batch_size": 16,
            "precision": "fp32",
        },
    ).model_dump(mode="json")
    calm = ended(submit(workspace, "compare", config, name="calm"))
    assert calm.status == "done", calm.state
    view = submit(workspace, "compare", config, name="killed")
    finished: dict[str, int] = {}
    for lines in moments:
        view = killed_after(view, lines)
        assert view.status == "interrupted"
        now = cell_times(view.path)
        assert finished.items() <= now.items(), "a finished cell ran again"
        finished = now
        view = resume(workspace, view.id)
    view = ended(view)
    assert view.status == "done", view.state
    assert finished.items() <= cell_times(view.path).items()
    assert len(read_cells(view.path)) == len(ARMS) * len(SEEDS)
    assert numbers(view.path) == numbers(calm.path)
    for one, other in zip(read_cells(view.path), read_cells(calm.path), strict=True):
        assert one.model_copy(update={"seconds": 0}) == other.model_copy(update={"seconds": 0})
    answers = [read_json(v.path / "result" / "results.json")["answer"] for v in (view, calm)]
    assert answers[0] == answers[1]
    kept = [best_classifier(v.path) for v in (view, calm)]
    assert kept[0] is not None and kept[1] is not None
    weights = [(path / "model.safetensors").read_bytes() for path in kept]
    assert weights[0] == weights[1]
    shutil.rmtree(calm.path)


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "0")


@pytest.mark.usefixtures("every_epoch", "phantom")
def test_killed_twice(workspace: Workspace) -> None:
    under_fire(workspace, sorted(Random(0).sample(range(1, LINES - 2), 2)))


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("every_epoch")
def test_killed_ten_times(workspace: Workspace, phantom: Dataset) -> None:
    under_fire(workspace, sorted(Random(1).sample(range(1, LINES - 2), 10)))
