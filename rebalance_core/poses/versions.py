"""Versions of a dataset's poses on disk: every change writes a complete one and can be undone.

`poses` is a symbolic link to a folder in `pose-versions/` and is replaced atomically.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from rebalance_core.errors import UserError
from rebalance_core.system.files import remove_stale_temporaries, temp_path

MAX_VERSIONS = 20  # the oldest are removed


def current_version(dataset: Path) -> Path | None:
    """The folder that `poses` links to; read all files from it, since the link may change."""
    link = dataset / "poses"
    if not link.is_symlink() or not link.is_dir():
        return None
    target = link.resolve()
    in_versions = target.parent == (dataset / "pose-versions").resolve()
    return target if in_versions and _is_version(target) else None


@contextmanager
def versions_lock(dataset: Path) -> Iterator[None]:
    """Hold this while reading a version and writing the next, so that no change is lost."""
    with FileLock(dataset / ".poses.lock"):
        yield


@contextmanager
def new_version(dataset: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes the current version, or is removed after an error."""
    versions = dataset / "pose-versions"
    versions.mkdir(exist_ok=True)
    link = dataset / "poses"
    if link.is_dir() and not link.is_symlink():  # the format of version 0.1.0, not read any more
        shutil.rmtree(link)
    remove_stale_temporaries(versions)
    temp = temp_path(versions / "new")
    temp.mkdir()
    try:
        yield temp
        target = versions / f"{_number(dataset) + 1:04d}"
        shutil.rmtree(target, ignore_errors=True)  # left by a kill between the next two lines
        os.rename(temp, target)
        _set_current(dataset, target)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    for old in _versions(dataset)[:-MAX_VERSIONS]:
        shutil.rmtree(old, ignore_errors=True)


def can_undo(dataset: Path) -> bool:
    return len(_versions(dataset)) > 1


def undo_change(dataset: Path) -> None:
    """Return to the version before the current one; raises UserError where there is none."""
    with versions_lock(dataset):
        versions = _versions(dataset)
        if len(versions) < 2:
            raise UserError(f"The poses of {dataset.name} have no earlier version.")
        _set_current(dataset, versions[-2])
        shutil.rmtree(versions[-1], ignore_errors=True)


def _versions(dataset: Path) -> list[Path]:
    """Versions up to the current one, oldest first."""
    paths = sorted(filter(_is_version, (dataset / "pose-versions").glob("[!.]*")))
    return [path for path in paths if int(path.name) <= _number(dataset)]


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal()


def _number(dataset: Path) -> int:
    current = current_version(dataset)
    return 0 if current is None else int(current.name)


def _set_current(dataset: Path, version: Path) -> None:
    remove_stale_temporaries(dataset)
    temp = temp_path(dataset / "poses")
    temp.mkdir()
    try:
        (temp / "link").symlink_to(version.relative_to(dataset), target_is_directory=True)
        os.replace(temp / "link", dataset / "poses")
    finally:
        shutil.rmtree(temp, ignore_errors=True)
