"""Kill -9 at random moments, resume, and the numbers are those of a run that was left alone."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import RunView, resume, submit, view_run
from rebalance_core.runs.run import read_metrics
from rebalance_core.workspace import Workspace

PATIENCE = 240  # seconds for a tiny run under load


def settings() -> dict[str, Config]:
    return {
        "bagan-gp": TrainConfig.make(
            "bagan-gp", "phantom", "quick", autoencoder_steps=40, steps=6, batch_size=8
        ),
        "ddpm": TrainConfig.make("ddpm", "phantom", "quick", steps=20, batch_size=4),
    }


def ended(view: RunView) -> RunView:
    deadline = time.monotonic() + PATIENCE
    while view.live and time.monotonic() < deadline:
        time.sleep(0.1)
        view = view_run(view.path)
    return view


def numbers(path: Path) -> list[dict[str, Any]]:
    """What was logged, times and starts aside."""
    lines = [m for m in read_metrics(path) if m.get("event") != "start"]
    return [{k: v for k, v in m.items() if k != "time"} for m in lines]


def kill_and_resume(workspace: Workspace, view: RunView, moments: list[float]) -> RunView:
    for moment in moments:
        deadline = time.monotonic() + PATIENCE
        while view.live and not numbers(view.path) and time.monotonic() < deadline:
            time.sleep(0.05)
            view = view_run(view.path)
        time.sleep(moment)
        view = view_run(view.path)
        if not view.live:
            break
        os.killpg(view.state["pid"], signal.SIGKILL)
        while (view := view_run(view.path)).live:
            time.sleep(0.05)
        assert view.status == "interrupted"
        view = resume(workspace, view.id)
    return ended(view)


def check(workspace: Workspace, config: Config, moments: list[float]) -> None:
    values = config.model_dump(mode="json")
    calm = ended(submit(workspace, "train", values, name="calm"))
    assert calm.status == "done", calm.state
    started = submit(workspace, "train", values, name="killed")
    killed = kill_and_resume(workspace, started, moments)
    assert killed.status == "done", killed.state
    assert numbers(killed.path) == numbers(calm.path)


def test_killed_training_ends_with_the_same_numbers(workspace: Workspace, phantom: Dataset) -> None:
    check(workspace, settings()["bagan-gp"], [0.7])


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["bagan-gp", "ddpm"])
@pytest.mark.parametrize("seed", range(5))
def test_chaos(kind: str, seed: int, workspace: Workspace, phantom: Dataset) -> None:
    moments = [random.Random(seed).uniform(0, 3) for _ in range(3)]
    check(workspace, settings()[kind], moments)
