"""File locks, which the OS releases when their process ends, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rebalance_core.errors import UserError
from rebalance_core.runs.devices import Device

TIMEOUT = 2.0  # seconds: another process may hold the lock briefly, to test whether it is free


def states_lock(runs: Path) -> FileLock:
    """Held to read, decide on and write a run's state, so that only one of two resumes succeeds."""
    return FileLock(runs / ".states.lock")


def device_lock(runs: Path, device: Device) -> FileLock:
    """Held by the job that uses the device."""
    return FileLock(runs / f".device-{device.key}.lock")


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold a run, reentrantly; raises UserError while another process holds it."""
    lock = FileLock(path / ".work.lock", is_singleton=True)
    try:
        lock.acquire(timeout=TIMEOUT)
    except Timeout as error:
        raise UserError(f"Run {path.name} is in use by another process.") from error
    try:
        yield
    finally:
        lock.release()


def is_run_locked(path: Path) -> bool:
    """Whether some process holds the run's lock."""
    lock = FileLock(path / ".work.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
