"""Memory: how much is available, and the message when it runs out."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.memory import (
    batch_size,
    count_oom_kills,
    is_low,
    is_out_of_memory,
    memory_advice,
    out_of_memory_reason,
    read_memory,
)
from rebalance_core.runs.records import MemoryUse
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 8 * 2**30  # bytes of address space
GIB = 2**30


def test_memory_is_that_of_this_process_and_machine() -> None:
    memory = read_memory()
    assert 0 < memory.used < memory.total <= psutil.virtual_memory().total
    assert 0 <= memory.left <= memory.total + psutil.swap_memory().total
    assert memory.ended == count_oom_kills() >= 0


def memory_use(left: int) -> MemoryUse:
    return MemoryUse(used=GIB, left=left, total=16 * GIB, ended=3)


@pytest.mark.parametrize(("share", "low"), [(0.049, True), (0.05, False)])
def test_memory_is_low_below_a_twentieth(share: float, low: bool) -> None:
    assert is_low(MemoryUse(used=1, left=share * 1000, total=1000, ended=0)) == low


def test_an_exit_is_out_of_memory_only_with_evidence() -> None:
    plenty = memory_use(8 * GIB)
    assert out_of_memory_reason(None, 9, {}) is None
    assert out_of_memory_reason(plenty, 3, {}) is None
    sentence = "Out of memory: the process was killed while it used 1.0 of 16.0 GiB; "
    killed = out_of_memory_reason(plenty, 4, {})  # the system has killed one since
    assert killed == f"{sentence}close other programs, or use a machine with more memory."
    low = out_of_memory_reason(memory_use(0), 3, {"classifier": {"batch_size": 32}})
    assert low == f"{sentence}a smaller batch_size than 32, such as 16, needs less."


def test_the_batch_size_is_found_where_a_config_has_it() -> None:
    assert batch_size({"batch_size": 8}) == ("batch_size", 8)
    assert batch_size({"set": "a", "training": {"batch_size": 4}}) == ("batch_size", 4)
    assert batch_size({"set": "a", "seeds": [0]}) is None
    assert "more memory" in memory_advice({"batch_size": 1})


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_what_is_a_lack_of_memory(error: BaseException, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_a_job_that_asks_for_too_much_memory_says_so(
    workspace: Workspace, phantom: Dataset
) -> None:
    """Activations of 2.4 GB each in a process of 8 GiB: the system really refuses them."""
    config: Config = TrainConfig.make(
        "ddpm", "phantom", "quick", size=256, steps=1, widths=(1024,), attention=(), batch_size=16
    )
    path = create_run(workspace, "train", config.model_dump(mode="json"), name="too large")
    worker = [sys.executable, "-m", "rebalance_core.runs.worker", str(path)]
    done = subprocess.run(
        worker,
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )
    view = view_run(path)
    assert (done.returncode, view.status) == (1, "failed")
    assert view.state.reason.startswith("Out of memory (")
    assert view.state.reason.endswith("; a smaller batch_size than 16, such as 8, needs less.")
