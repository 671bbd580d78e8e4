"""A run without torch, which only counts: thousands of them can be killed in a minute."""

import json
import os
from pathlib import Path
from typing import IO, Any

from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.locks import run_lock
from rebalance_core.runs.worker import wait_for_device
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace

MODULUS = 1_000_003


class CountingRun(RunDirectory):
    """A real run directory whose checkpoints are JSON: all but what torch writes is the same."""

    def _dump(self, kept: Any, file: IO[bytes]) -> None:
        file.write(json.dumps(kept).encode())

    def _load(self, path: Path) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        return kept


def count(path: Path, steps: int) -> None:
    """Log, checkpoint and say the state at each of `steps`, going on from the checkpoint."""
    run = CountingRun(path)
    with run_lock(path):
        run.write_state("running", **current_process(), reason=None)
        run.reserve_disk()
        kept = run.restore() or {"step": 0, "value": 1}
        step, value = kept["step"], kept["value"]
        run.log(step, event="start")
        while step < steps:
            step, value = step + 1, value * 48_271 % MODULUS
            run.log(step, value=value)
            run.progress(step / steps, "counting")
            run.write_state()
            run.checkpoint_or_stop({"step": step, "value": value}, ("value", float(value)))
        run.end("done")


def expected(steps: int) -> list[dict[str, Any]]:
    """What an uninterrupted count logs, times and starts aside."""
    lines, value = [], 1
    for step in range(1, steps + 1):
        value = value * 48_271 % MODULUS
        lines.append({"step": step, "value": value})
    return lines


def take_turn(path: Path, seconds: float, sleep: Any) -> None:
    """Wait for a device and hold it, telling in `doubled` if another process is on it too."""
    workspace = Workspace(path.parent.parent)
    run = CountingRun(path)
    with run_lock(path):
        run.write_state("queued", **current_process())
        with wait_for_device(workspace, run) as device:
            run.write_state("running", device=device.name)
            _check_alone(workspace.root, device.key)
            sleep(seconds)
            _check_alone(workspace.root, device.key)
            (workspace.root / f"on-{device.key}").unlink()
            run.end("done")


def _check_alone(root: Path, device: str) -> None:
    """Put our pid on the device; what a killed process left there is no other's."""
    mark = root / f"on-{device}"
    there = int(mark.read_text() or 0) if mark.exists() else 0
    if there not in (0, os.getpid()) and _lives(there):
        with (root / "doubled").open("a") as file:
            file.write(f"{device}: {there} and {os.getpid()}\n")
    mark.write_text(str(os.getpid()))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
