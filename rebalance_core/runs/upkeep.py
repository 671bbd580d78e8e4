"""Runs on the disk: what they take, what of it can go, and in what two of them differ."""

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
    """Checkpoints of a run that ended which nothing needs any more."""

    view: RunView
    files: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True)
class _Weight:
    """What an ended run takes, and what of it can go, as long as its view stays the same one."""

    view: RunView
    changed: int  # when its folder of checkpoints did, ns
    bytes: int
    spare: SpareCheckpoints | None


_weights: dict[Path, _Weight] = {}


def _weigh(view: RunView) -> _Weight:
    try:
        changed = (view.path / "checkpoints").stat().st_mtime_ns
    except OSError:
        changed = 0
    known = _weights.get(view.path)
    if known is None or known.view is not view or known.changed != changed or view.live:
        spare = None if view.live else _spare(view)
        known = _weights[view.path] = _Weight(view, changed, _size(view.path), spare)
    return known


def run_bytes(view: RunView) -> int:
    """Bytes of the run's directory; a file with two names counts once."""
    return _weigh(view).bytes


def _size(folder: Path) -> int:
    files: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(place) / name).lstat()
            except OSError:  # it went meanwhile
                continue
            files[found.st_ino] = found.st_size
    return sum(files.values())


def spare_checkpoints(workspace: Workspace) -> list[SpareCheckpoints]:
    """All checkpoints of runs that are done; of others that ended, all but the last."""
    weighed = (_weigh(view).spare for view in list_runs(workspace))
    return [spare for spare in weighed if spare is not None]


def _spare(view: RunView) -> SpareCheckpoints | None:
    folder = view.path / "checkpoints"
    there = list_checkpoints(folder)
    kept = [] if view.status == "done" else there[-1:]
    best = [folder / BEST] if (folder / BEST).exists() else []
    going = tuple(path for path in (*there, *best) if path not in kept)
    staying = {path.stat().st_ino for path in kept}
    sizes = {f.st_ino: f.st_size for f in (path.stat() for path in going)}
    freed = sum(size for inode, size in sizes.items() if inode not in staying)
    return SpareCheckpoints(view, going, freed) if going else None


def clean(workspace: Workspace) -> int:
    """Remove spare checkpoints and what kills left behind; the bytes that this freed."""
    freed = 0
    if not workspace.root.exists():
        return freed
    for spare in spare_checkpoints(workspace):
        with states_lock(workspace.runs):  # nobody resumes it meanwhile
            now = view_run(spare.view.path)
            again = None if now.live else _spare(now)
            if again is None:
                continue
            for path in again.files:
                path.unlink(missing_ok=True)
            freed += again.bytes
        remove_stale_temporaries(spare.view.path / "checkpoints")
    remove_all_leftovers(workspace)
    return freed


def config_differences(one: RunView, other: RunView) -> dict[str, tuple[Any, Any]]:
    """{field: (in `one`, in `other`)} for what differs; nested fields as `training.lr`."""
    left, right = ({**dict(_flat(view.config)), **_facts(view)} for view in (one, other))
    fields = [*left, *(field for field in right if field not in left)]
    return {
        field: (left.get(field), right.get(field))
        for field in fields
        if left.get(field) != right.get(field)
    }


def _facts(view: RunView) -> dict[str, Any]:
    return {
        "kind": view.kind,
        "seed of the run": view.record.get("seed"),
        "code": view.record.get("code"),
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_log(path: Path, at: int | None = None) -> tuple[str, int]:
    """What a run printed since byte `at` (None: its last 256 kB), and where that ends."""
    try:
        with (path / "log.txt").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_SHOWN) if at is None else at)
            data = file.read()
            return data.decode(errors="replace"), file.tell()
    except OSError:
        return "", 0
