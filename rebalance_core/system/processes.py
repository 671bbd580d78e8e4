"""Which process is that, is it still the same one; and processes that help with one job."""

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
    """This process as files name it: a pid alone may be another's tomorrow, or elsewhere."""
    pid = os.getpid()
    return {"pid": pid, "pid_started": _started(pid), "host": host_name()}


@cache
def _started(pid: int) -> float:
    return psutil.Process(pid).create_time()


@cache
def host_name() -> str:
    return socket.gethostname()


def find_process(pid: int | None, started: float) -> psutil.Process | None:
    """The process `pid` if it is alive and began at `started` (give or take a second)."""
    if pid is None:
        return None  # psutil would take None for this very process
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def process_pool() -> ProcessPoolExecutor:
    """One spawned process a core (safe beside threads); they end with this one, even if killed."""
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=_end_with_parent
    )


def parallel_map(function: Callable[[T], U], items: Iterable[T]) -> Iterator[tuple[T, U]]:
    """(item, function(item)) in order, by a process a core; only a few items are held at once."""
    most = 2 * (os.cpu_count() or 1)
    pool = process_pool()
    waiting: deque[tuple[T, Future[U]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > most:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
