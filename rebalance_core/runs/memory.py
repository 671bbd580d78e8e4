"""Memory: how much a job takes and what is left, and whether the lack of it ended a job."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

SHORT = 0.05  # of the memory left, from which it counts as short
GIB = 2**30


def read_memory() -> dict[str, Any]:
    """Bytes that this process uses, that are left, and that there are, here or in its container;
    how many processes the system has ended for want of memory since it started."""
    whole = psutil.virtual_memory()
    left, total = whole.available + psutil.swap_memory().free, whole.total
    for limit, used in _containers():
        if limit < total:
            left, total = min(left, max(0, limit - used)), limit
    used = psutil.Process().memory_info().rss
    return {"used": used, "left": left, "total": total, "ended": count_oom_kills()}


def is_short(memory: Mapping[str, Any]) -> bool:
    return bool(memory["left"] < SHORT * memory["total"])


def count_oom_kills() -> int:
    """Processes ended for want of memory since the system started, as Linux counts them."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _containers() -> Iterator[tuple[int, int]]:
    """(limit, use) in bytes of each control group around this process that has them (Linux)."""
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
        for folder in (root / place.lstrip("/"), root):  # a container may see its own as the root
            try:
                limit, used = ((folder / name).read_text().strip() for name in names)
                if limit != "max":
                    yield int(limit), int(used) - _reclaimable(folder)
            except (OSError, ValueError):
                continue


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache, which count as used but are given back on demand."""
    for line in (folder / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def memory_advice(config: Mapping[str, Any]) -> str:
    """What to do about a lack of memory, with a batch size where the config has one."""
    found = batch_size(config)
    if found is None or found[1] < 2:
        return "end other programs, or use a machine with more memory."
    field, size = found
    return f"a smaller {field} than {size}, such as {size // 2}, needs less."


def batch_size(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """The config's batch size and its name, at the top or one level down."""
    for inner in (config, *(v for v in config.values() if isinstance(v, Mapping))):
        if isinstance(inner.get("batch_size"), int):
            return "batch_size", inner["batch_size"]
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own error, or what torch says of a GPU or of the processor."""
    said = str(error).lower()
    wanted = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(words in said for words in wanted)


def out_of_memory_reason(
    memory: Mapping[str, Any] | None, ended: int, config: Mapping[str, Any]
) -> str | None:
    """Why a process that is gone without a word may have died of a lack of memory, else None.

    `memory`: its last word on it; `ended`: the system's present count.
    """
    if not memory or not (is_short(memory) or ended > memory["ended"]):
        return None
    used, total = (f"{memory[name] / GIB:.1f}" for name in ("used", "total"))
    return (
        f"Out of memory: its process was ended while it used {used} of {total} GiB; "
        f"{memory_advice(config)}"
    )
