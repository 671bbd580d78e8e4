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
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
U = TypeVar("U")


def current_process() -> dict[str, Any]:
    """This process as {pid, pid_started, host}: pids are reused, and differ between machines."""
    pid = os.getpid()
    return {"pid": pid, "pid_started": _start_time(pid), "host": host_name()}


@cache
def _start_time(pid: int) -> float:
    return psutil.Process(pid).create_time()


@cache
def host_name() -> str:
    return socket.gethostname()


def find_process(pid: int | None, started: float) -> psutil.Process | None:
    """The process `pid` if it is alive and was started at `started`, within a second."""
    if pid is None:
        return None  # which psutil interprets as the current process
    try:
        process = psutil.Process(pid)
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
