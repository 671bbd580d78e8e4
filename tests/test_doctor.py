"""The checks of the installation that need no torch, and their explanations.

The tests must not depend on the free disk and memory of this machine.
"""

import sys
from pathlib import Path

import pytest

from rebalance_core import doctor
from rebalance_core.doctor import explain, quick_checks
from rebalance_core.runs.run import CHECKPOINT_VARIABLE
from rebalance_core.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_DISK", 0)
    monkeypatch.setattr(doctor, "MIN_FREE_MEMORY", 0)


def test_quick_checks_find_no_problem_and_write_nothing(workspace: Workspace) -> None:
    facts = quick_checks(workspace)
    assert (facts["problems"], facts["checkpoint_seconds"]) == ([], 30.0)
    assert facts["python"] == sys.version.split()[0]
    assert facts["weights"] == {"vgg16": False, "resnet18": False, "inception": False}
    assert not workspace.root.exists()


def test_weights_and_an_invalid_setting_are_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: Path = workspace.root / "weights" / "vgg16.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "often")
    facts = quick_checks(workspace)
    assert facts["weights"] == {"vgg16": True, "resnet18": False, "inception": False}
    (problem,) = facts["problems"]
    assert problem.startswith(f"{CHECKPOINT_VARIABLE} must be a number of seconds")
    values = {setting: value for setting, value, _ in explain(facts)}
    assert (values["Pretrained weights"], values["Checkpoints"]) == ("vgg16", "invalid setting")


def test_too_little_disk_and_memory_are_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_DISK", 10**9)
    monkeypatch.setattr(doctor, "MIN_FREE_MEMORY", 10**9)
    disk, memory = quick_checks(workspace)["problems"]
    assert disk.endswith("; free some space before training.")
    assert memory.endswith("are free; close other programs before training.")


def test_every_setting_has_an_explanation(workspace: Workspace) -> None:
    facts = quick_checks(workspace) | {"devices": ["GPU 0 (A)", "GPU 1 (A)"]}
    before = {setting: meaning for setting, _, meaning in explain(facts)}
    assert before["Devices"].startswith("One job at a time on each; ")
    full = facts | {"device": "cuda", "fast_bf16": True, "threads": 4}
    after = {setting: (value, meaning) for setting, value, meaning in explain(full)}
    assert after.keys() - before.keys() == {"torch device", "Precision `auto`", "Threads"}
    assert after["Precision `auto`"] == ("bf16", "bf16 is fast here and needs half the memory.")
    assert all(meaning for _, meaning in after.values())
