"""BAGAN-GP killed with -9 ten times in the middle of its stages, resumed, and none the worse.

Six such kills, three a stage, are in `make test` (`test_chaos.py`).
"""

import os
import signal
from random import Random

import pytest
from fire import ended, last_step, until
from products import numbers, product
from starting import submit

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import RunView, resume, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import CHECKPOINT_VARIABLE
from rebalance_core.workspace import Workspace

AUTOENCODER, ADVERSARIAL = 40, 20  # steps


def killed_after(view: RunView, step: int) -> RunView:
    """Kill the run as soon as it has told of a step beyond `step`."""

    def reached() -> bool:
        lines = read_metrics(view.path)
        return bool(lines and lines[-1]["step"] > step) or not view_run(view.path).live

    until(reached, lambda: (view_run(view.path).state, (view.path / "log.txt").read_text()))
    running = view_run(view.path)
    assert running.live, "it ended before it could be killed"
    os.killpg(running.state.pid, signal.SIGKILL)
    return ended(view)


def under_fire(workspace: Workspace, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "0")  # after each step
    config = TrainConfig.make(
        "bagan-gp",
        "phantom",
        "quick",
        autoencoder_steps=AUTOENCODER,
        steps=ADVERSARIAL,
        batch_size=8,
        ema=0.9,
        augment="diffaugment",
    ).model_dump(mode="json")
    calm = ended(submit(workspace, "train", config, name="calm"))
    assert calm.status == "done", calm.state
    view = submit(workspace, "train", config, name="killed")
    from_steps = [0]
    for step in steps:
        view = killed_after(view, step)
        assert view.status == "interrupted"
        kept = last_step(view.path)
        assert kept is not None
        assert kept >= step, "a step that was told of was kept"
        from_steps.append(kept)
        view = resume(workspace, view.id)
    view = ended(view)
    assert view.status == "done", view.state
    # it went on from just where the checkpoints stood, in both stages, and it shows nowhere else
    starts = [m["step"] for m in read_metrics(view.path) if m.get("event") == "start"]
    assert starts == from_steps
    assert numbers(view.path) == numbers(calm.path)
    assert product(workspace, view) == product(workspace, calm)


def moments(seed: int, a_stage: int) -> list[int]:
    random = Random(seed)
    first = random.sample(range(3, AUTOENCODER - 3), a_stage)
    second = random.sample(range(AUTOENCODER + 1, AUTOENCODER + ADVERSARIAL - 3), a_stage)
    return sorted(first + second)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_killed_ten_times(
    workspace: Workspace, phantom: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_fire(workspace, moments(1, 5), monkeypatch)
