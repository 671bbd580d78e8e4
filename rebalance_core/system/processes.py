"""The identity of processes, and pools of worker processes."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
U = TypeVar("U")


def current_process() -> dict[str, Any]:
    """This process as {pid, pid_started, birth, host}; see `process_identity`."""
    return dict(_own_identity(os.getpid()))


@cache
def _own_identity(pid: int) -> dict[str, Any]:
    return process_identity(pid)


def process_identity(pid: int) -> dict[str, Any]:
    """A process as {pid, pid_started, birth, host}: pids are reused, and differ between machines.

    `pid_started` is in seconds since 1970; `birth` identifies the start without the clock, or is
    None. Raises psutil.Error if there is no such process.
    """
    started = psutil.Process(pid).create_time()
    return {"pid": pid, "pid_started": started, "birth": _birth(pid), "host": host_name()}


def _birth(pid: int) -> str | None:
    """When a process began, as `<boot>t<ticks since that boot>`; None where Linux does not tell.

    Setting the clock moves the start times of all processes, in seconds, but not these.
    """
    try:
        # The name before the last parenthesis may contain anything; see proc(5), field 22.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = _boot()
    except OSError:
        return None
    return f"{boot}t{int(fields[19])}"


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


@cache
def host_name() -> str:
    return socket.gethostname()


def find_process(pid: int | None, started: float | str) -> psutil.Process | None:
    """The process `pid` if it is alive and is the one that began at `started`.

    `started` is its birth, or its start time in seconds since 1970, compared within a second.
    """
    if pid is None:
        return None  # which psutil interprets as the current process
    try:
        process = psutil.Process(pid)
        if isinstance(started, str):
            is_same = _birth(pid) == started
        else:
            is_same = abs(process.create_time() - started) < 1
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def process_pool() -> ProcessPoolExecutor:
    """One spawned (thread-safe) worker per core; workers exit with this process, even if killed."""
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_exit_with_parent
    )


def parallel_map(function: Callable[[T], U], items: Iterable[T]) -> Iterator[tuple[T, U]]:
    """Yield (item, function(item)) in order, with one process per core and a bounded queue."""
    max_pending = 2 * (os.cpu_count() or 1)
    pool = process_pool()
    pending: deque[tuple[T, Future[U]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > max_pending:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _exit_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
