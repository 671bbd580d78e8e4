"""Memory: how much a job uses, how much is available, and whether a job died of its lack."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from rebalance_core.runs.records import MemoryUse

LOW = 0.05  # share of the memory available, below which it counts as low
GIB = 2**30


def read_memory() -> MemoryUse:
    """Memory of this process and of the machine, or of its container where that has a limit."""
    machine = psutil.virtual_memory()
    left, total = machine.available + psutil.swap_memory().free, machine.total
    for limit, used in _containers():
        if limit < total:
            left, total = min(left, max(0, limit - used)), limit
    used = psutil.Process().memory_info().rss
    return MemoryUse(used=used, left=left, total=total, ended=count_oom_kills())


def is_low(memory: MemoryUse) -> bool:
    return memory.left < LOW * memory.total


def count_oom_kills() -> int:
    """Processes that Linux has killed for lack of memory since it booted; 0 elsewhere."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _containers() -> Iterator[tuple[int, int]]:
    """(limit, usage) in bytes of each Linux control group of this process that has a limit."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, kinds, place = line.split(":", 2)
        if not kinds:
            names, root = ("memory.max", "memory.current"), Path("/sys/fs/cgroup")
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            root = Path("/sys/fs/cgroup/memory")
        else:
            continue
        for folder in (root / place.lstrip("/"), root):  # inside a container, the root
            try:
                limit, used = ((folder / name).read_text().strip() for name in names)
                if limit != "max":
                    yield int(limit), int(used) - _reclaimable(folder)
            except (OSError, ValueError):
                continue


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache, which count as used but are reclaimed on demand."""
    for line in (folder / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def memory_advice(config: Mapping[str, Any]) -> str:
    """What to do when memory runs out, with a batch size where the config has one."""
    field_and_size = batch_size(config)
    if field_and_size is None or field_and_size[1] < 2:
        return "close other programs, or use a machine with more memory."
    field, size = field_and_size
    return f"a smaller {field} than {size}, such as {size // 2}, needs less."


def batch_size(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """(name, value) of the config's batch size, at its top level or one below, or None."""
    for inner in (config, *(v for v in config.values() if isinstance(v, Mapping))):
        if isinstance(inner.get("batch_size"), int):
            return "batch_size", inner["batch_size"]
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is Python's MemoryError or torch's out-of-memory error, GPU or CPU."""
    message = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(phrase in message for phrase in phrases)


def out_of_memory_reason(
    memory: MemoryUse | None, oom_kills: int, config: Mapping[str, Any]
) -> str | None:
    """A sentence if a process that exited without a reason may have run out of memory, else None.

    `memory` is its last record, `oom_kills` the system's current count.
    """
    if memory is None or not (is_low(memory) or oom_kills > memory.ended):
        return None
    return (
        f"Out of memory: the process was killed while it used {memory.used / GIB:.1f} of "
        f"{memory.total / GIB:.1f} GiB; {memory_advice(config)}"
    )
