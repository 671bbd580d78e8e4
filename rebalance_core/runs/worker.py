"""The process of one job: waits for a device, executes the job and records how it ended.

`python -m rebalance_core.runs.worker RUN_DIRECTORY [MODULE:FUNCTION]`, the second being the
network that a person has named. Nothing heavy is imported while it waits.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import Timeout

from rebalance_core.errors import UserError, first_line
from rebalance_core.runs.devices import VISIBLE, Device, list_devices
from rebalance_core.runs.directory import LIVE, STOPPED, RunDirectory
from rebalance_core.runs.executor import RESUME_COMMAND, list_runs, needs_device
from rebalance_core.runs.locks import device_lock, run_lock, states_lock
from rebalance_core.runs.memory import is_out_of_memory, memory_advice
from rebalance_core.runs.run import Cancelled
from rebalance_core.runs.spec import job_specs
from rebalance_core.runs.trust import check_trusted
from rebalance_core.system.console import escape_unprintable
from rebalance_core.system.files import disk_full_message, is_disk_full, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace

QUEUE_POLL = 0.5  # seconds
TERMINATED = "Terminated by the system (SIGTERM)."


def execute(workspace: Workspace, run: RunDirectory) -> None:
    """Execute the run's job in this process and record how it ended; raises what the job raises."""
    with run_lock(run.path):
        run.start_clock()
        run.write_state(
            "running",
            **current_process(),
            reason=None,
            progress=None,
            started=time.time(),
            finished=None,
        )
        try:
            check_trusted(run.config, run.network, f"Run {run.id}", RESUME_COMMAND.format(run.id))
            run.reserve_disk()
            with run.heartbeat():
                result = job_specs()[run.record.kind].load_job()(workspace, run)
            write_json(run.result / "result.json", dict(result))
            run.end("done")
        except Cancelled:
            _record_stop(run)
            raise
        except BaseException as error:
            run.end("failed", _failure_reason(error, workspace, run))
            raise


def _record_stop(run: RunDirectory) -> None:
    """Record a stop as cancelled by a person or as interrupted by the system."""
    if run.is_cancelled():
        run.end("cancelled", STOPPED)
    else:
        run.end("interrupted", TERMINATED)


def _failure_reason(error: BaseException, workspace: Workspace, run: RunDirectory) -> str:
    if isinstance(error, UserError):
        return str(error)
    if is_disk_full(error):
        return disk_full_message(workspace.root)
    if is_out_of_memory(error):
        return f"Out of memory ({first_line(error)}); {memory_advice(run.config)}"
    return f"{type(error).__name__}: {error}"


@contextmanager
def wait_for_device(workspace: Workspace, run: RunDirectory) -> Iterator[Device]:
    """Hold a device, first come, first served; the lock is released when the process exits."""
    devices = list_devices()
    while True:
        if run.should_stop():
            raise Cancelled
        ahead = sum(
            v.id < run.id and v.status == "queued" and needs_device(v) for v in list_runs(workspace)
        )
        for device in devices if not ahead else []:
            lock = device_lock(workspace.runs, device)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield device
            finally:
                lock.release()
            return
        run.progress(0.0, f"waiting for {ahead + 1} job(s) ahead")
        run.write_state()
        time.sleep(QUEUE_POLL)


def claim(workspace: Workspace, run: RunDirectory) -> bool:
    """Record this process as the run's; False if the run no longer waits for one."""
    with states_lock(workspace.runs):
        # A worker that starts late may find its run marked as interrupted.
        if RunDirectory(run.path).status not in ("queued", "interrupted"):
            return False
        run.write_state("queued", **current_process())
    return True


def work(workspace: Workspace, run: RunDirectory) -> None:
    """Wait for a device, if the run needs one, and execute it there."""
    try:
        if run.should_stop():
            raise Cancelled
        needs_device = job_specs()[run.record.kind].needs_device(run.config)
        with wait_for_device(workspace, run) if needs_device else nullcontext() as device:
            if device is not None:
                run.write_state(device=device.name)
            if device is not None and device.visible is not None:
                os.environ[VISIBLE] = device.visible  # before torch reads it
            execute(workspace, run)
    except Cancelled:
        if run.status in LIVE:  # it was still queued
            _record_stop(run)
        print(run.reason)


def main(path: Path, network: str | None = None) -> int:
    escape_unprintable()
    workspace = Workspace(path.parent.parent)
    try:
        run = RunDirectory(path, network=network)
        # A preempted or shutting-down machine sends SIGTERM first: checkpoint and exit.
        signal.signal(signal.SIGTERM, lambda number, frame: run.stop())
        with run_lock(path):
            if claim(workspace, run):
                work(workspace, run)
    except UserError as error:
        print(error)
        return 1
    except FileNotFoundError:
        if path.exists():
            raise
        return 1  # the run was removed meanwhile
    except Exception:
        with suppress(OSError):  # the disk of the log may be full
            traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
