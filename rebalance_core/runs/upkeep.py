"""Disk use of runs, removal of spare checkpoints, and the differences between two runs."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebalance_core.runs.directory import BEST, list_checkpoints
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.leftovers import remove_all_leftovers
from rebalance_core.runs.locks import states_lock
from rebalance_core.system.files import remove_stale_temporaries
from rebalance_core.workspace import Workspace

LOG_SHOWN = 2**18  # bytes


@dataclass(frozen=True)
class SpareCheckpoints:
    """Checkpoints of a finished run that nothing needs any more."""

    view: RunView
    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True)
class _Size:
    """Disk use of a finished run; valid as long as its view is the same object."""

    view: RunView
    modified: int  # ns, of its folder of checkpoints
    bytes: int
    spare: SpareCheckpoints | None


_size_cache: dict[Path, _Size] = {}


def _measure(view: RunView) -> _Size:
    try:
        modified = (view.path / "checkpoints").stat().st_mtime_ns
    except OSError:
        modified = 0
    size = _size_cache.get(view.path)
    if size is None or size.view is not view or size.modified != modified or view.live:
        spare = None if view.live else _spare(view)
        size = _size_cache[view.path] = _Size(view, modified, _folder_bytes(view.path), spare)
    return size


def run_bytes(view: RunView) -> int:
    """Bytes of the run's directory; hard-linked files count once."""
    return _measure(view).bytes


def _folder_bytes(folder: Path) -> int:
    sizes: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).lstat()
            except OSError:  # removed meanwhile
                continue
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def spare_checkpoints(workspace: Workspace) -> list[SpareCheckpoints]:
    """All checkpoints of runs that are done; of other finished runs, all but the last."""
    candidates = (_measure(view).spare for view in list_runs(workspace))
    return [spare for spare in candidates if spare is not None]


def _spare(view: RunView) -> SpareCheckpoints | None:
    folder = view.path / "checkpoints"
    checkpoints = list_checkpoints(folder)
    kept = [] if view.status == "done" else checkpoints[-1:]
    best = [folder / BEST] if (folder / BEST).exists() else []
    spare = tuple(path for path in (*checkpoints, *best) if path not in kept)
    kept_inodes = {path.stat().st_ino for path in kept}
    sizes = {f.st_ino: f.st_size for f in (path.stat() for path in spare)}
    freed = sum(size for inode, size in sizes.items() if inode not in kept_inodes)
    return SpareCheckpoints(view, spare, freed) if spare else None


def clean(workspace: Workspace) -> int:
    """Remove spare checkpoints and leftovers of killed processes; returns the bytes freed."""
    freed = 0
    if not workspace.root.exists():
        return freed
    for spare in spare_checkpoints(workspace):
        with states_lock(workspace.runs):  # so that it cannot be resumed meanwhile
            view = view_run(spare.view.path)
            current = None if view.live else _spare(view)
            if current is None:
                continue
            for path in current.files:
                path.unlink(missing_ok=True)
            freed += current.bytes
        remove_stale_temporaries(spare.view.path / "checkpoints")
    remove_all_leftovers(workspace)
    return freed


def config_differences(one: RunView, other: RunView) -> dict[str, tuple[Any, Any]]:
    """List the config fields that differ, as {field: (value in `one`, value in `other`)}.

    Nested fields are named like `training.lr`.
    """
    left, right = ({**dict(_flatten(view.config)), **_origin(view)} for view in (one, other))
    fields = [*left, *(field for field in right if field not in left)]
    return {
        field: (left.get(field), right.get(field))
        for field in fields
        if left.get(field) != right.get(field)
    }


def _origin(view: RunView) -> dict[str, Any]:
    return {"kind": view.kind, "seed of the run": view.record.seed, "code": view.record.code}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_log(path: Path, start: int | None = None) -> tuple[str, int]:
    """What a run printed from byte `start` (None: its last 256 KiB), and the byte after that."""
    try:
        with (path / "log.txt").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_SHOWN) if start is None else start)
            data = file.read()
            return data.decode(errors="replace"), file.tell()
    except OSError:
        return "", 0
