"""The process of one job: waits for its turn, does it, and says how it ended.

`python -m rebalance_core.runs.worker RUN_DIRECTORY`. Nothing heavy is imported before the turn.
"""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from rebalance_core.errors import UserError
from rebalance_core.files import write_json
from rebalance_core.processes import own_process
from rebalance_core.runs.executor import KINDS, list_runs
from rebalance_core.runs.run import Cancelled, RunDirectory
from rebalance_core.workspace import Workspace

QUEUE_POLL = 0.5  # seconds


def execute(workspace: Workspace, run: RunDirectory) -> None:
    """Do the run's job in this process and record how it ended; raises what the job raised."""
    run.write_state("running", **own_process(), reason=None, progress=None, started=time.time())
    try:
        with run.beating():
            result = KINDS[run.record["kind"]].job()(workspace, run)
        write_json(run.result / "result.json", dict(result))
        run.write_state("done", finished=time.time())
    except Cancelled:
        run.write_state("cancelled", reason="Stopped on request.", finished=time.time())
        raise
    except BaseException as error:
        run.write_state("failed", reason=_sentence(error), finished=time.time())
        raise


def _sentence(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return f"Out of memory ({error}); a smaller batch_size needs less."
    return f"{type(error).__name__}: {error}"


@contextmanager
def turn(workspace: Workspace, run: RunDirectory) -> Iterator[None]:
    """Hold the device: first come, first served; the lock goes with the process."""
    lock = FileLock(workspace.runs / ".device.lock")
    while True:
        if run.should_stop():
            raise Cancelled
        ahead = [
            v
            for v in list_runs(workspace)
            if v.id < run.id and v.status == "queued" and KINDS[v.kind].needs_device(v.config)
        ]
        if not ahead:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                pass
        run.progress(0.0, f"waiting for {len(ahead) + 1} job(s) ahead")
        run.write_state()
        time.sleep(QUEUE_POLL)
    try:
        yield
    finally:
        lock.release()


def main(path: Path) -> int:
    workspace = Workspace(path.parent.parent)
    run = RunDirectory(path)
    run.write_state("queued", **own_process())
    needs_device = KINDS[run.record["kind"]].needs_device(run.config)
    try:
        with turn(workspace, run) if needs_device else nullcontext():
            execute(workspace, run)
    except Cancelled:
        run.write_state("cancelled", reason="Stopped on request.")
        print("Stopped on request.")
    except UserError as error:
        print(error)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
