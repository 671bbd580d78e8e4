"""Locks on files, which the system lets go when their process ends, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rebalance_core.errors import UserError
from rebalance_core.runs.devices import Device

PATIENCE = 2.0  # seconds: somebody may hold the lock for a moment to see whether it is free


def states_lock(runs: Path) -> FileLock:
    """Hold this to decide on a run's state and write it: two that resume one run don't both."""
    return FileLock(runs / ".states.lock")


def device_lock(runs: Path, device: Device) -> FileLock:
    """Held by the job on that device."""
    return FileLock(runs / f".device-{device.key}.lock")


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Work on a run; raises UserError while another process does. Again within is fine."""
    lock = FileLock(path / ".work.lock", is_singleton=True)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise UserError(f"Run {path.name} is being worked on by another process.") from error
    try:
        yield
    finally:
        lock.release()


def is_run_locked(path: Path) -> bool:
    """True while some process holds the run's lock, whatever its clock says of its start."""
    lock = FileLock(path / ".work.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
