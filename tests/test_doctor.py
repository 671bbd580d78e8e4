"""What the studio runs on here, told without torch, and what each of it means.

How much room this machine has is nothing that a test may ask for.
"""

import sys
from pathlib import Path

import pytest

from rebalance_core import doctor
from rebalance_core.doctor import look, meanings
from rebalance_core.runs.run import CHECKPOINT_VARIABLE
from rebalance_core.workspace import Workspace


@pytest.fixture(autouse=True)
def _little_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM_WANTED", 0)
    monkeypatch.setattr(doctor, "MEMORY_WANTED", 0)


def test_what_is_told_at_once_needs_no_mending_and_leaves_nothing(workspace: Workspace) -> None:
    facts = look(workspace)
    assert (facts["problems"], facts["checkpoint_seconds"]) == ([], 30.0)
    assert facts["python"] == sys.version.split()[0]
    assert facts["weights"] == {"vgg16": False, "resnet18": False, "inception": False}
    assert not workspace.root.exists()


def test_weights_and_a_wrong_setting_are_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: Path = workspace.root / "weights" / "vgg16.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "often")
    facts = look(workspace)
    assert facts["weights"] == {"vgg16": True, "resnet18": False, "inception": False}
    (problem,) = facts["problems"]
    assert problem.startswith(f"{CHECKPOINT_VARIABLE} must be a number of seconds")
    told = {setting: here for setting, here, _ in meanings(facts)}
    assert (told["Pretrained weights"], told["Checkpoints"]) == ("vgg16", "a wrong setting")


def test_little_room_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM_WANTED", 10**9)
    monkeypatch.setattr(doctor, "MEMORY_WANTED", 10**9)
    disk, memory = look(workspace)["problems"]
    assert disk.endswith("; make room before training.")
    assert memory.endswith("are left; end other programs before training.")


def test_every_setting_says_what_it_means(workspace: Workspace) -> None:
    facts = look(workspace) | {"devices": ["GPU 0 (A)", "GPU 1 (A)"]}
    before = {setting: means for setting, _, means in meanings(facts)}
    assert before["Devices"].startswith("One job at a time on each; ")
    checked = facts | {"device": "cuda", "fast_bf16": True, "threads": 4}
    after = {setting: (here, means) for setting, here, means in meanings(checked)}
    assert after.keys() - before.keys() == {"torch computes on", "Precision `auto`", "Threads"}
    assert after["Precision `auto`"] == ("bf16", "bf16 is fast here and takes half the memory.")
    assert all(means for _, means in after.values())
