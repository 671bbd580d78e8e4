"""The identity of processes, and pools that end with their parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from rebalance_core.system.processes import current_process, find_process, process_pool

ROOT = Path(__file__).resolve().parents[1]
POOL_AND_WAIT = """
import os, time
from rebalance_core.system.processes import process_pool
pool = process_pool()
list(pool.map(time.sleep, [0.2] * 8))
print(*pool._processes, flush=True)
time.sleep(600)
"""


def has_exited(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_this_process_is_found_and_another_of_its_pid_is_not() -> None:
    own = current_process()
    assert own["pid"] == os.getpid()
    process = find_process(own["pid"], own["pid_started"])
    assert process is not None
    assert process.pid == os.getpid()
    assert find_process(own["pid"], own["pid_started"] - 5) is None
    assert find_process(None, own["pid_started"]) is None


def test_an_exited_process_is_not_found_even_before_it_is_reaped() -> None:
    process = subprocess.Popen(["sleep", "600"])
    started = psutil.Process(process.pid).create_time()
    assert find_process(process.pid, started) is not None
    process.kill()
    deadline = time.monotonic() + 10
    while not has_exited(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert find_process(process.pid, started) is None
    process.wait()
    assert find_process(process.pid, started) is None


def test_a_pool_has_at_most_one_process_per_core() -> None:
    with process_pool() as pool:
        assert list(pool.map(abs, range(-40, 0), chunksize=5)) == list(range(40, 0, -1))
        pids = list(pool._processes)
    assert 1 <= len(pids) <= (os.cpu_count() or 1)
    assert os.getpid() not in pids
    assert all(map(has_exited, pids))


def test_a_pool_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", POOL_AND_WAIT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    try:
        assert len(pids) == os.cpu_count()
        assert not any(map(has_exited, pids))
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while not all(map(has_exited, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(map(has_exited, pids))
