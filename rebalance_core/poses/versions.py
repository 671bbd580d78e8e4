"""A dataset's poses on disk: every change is a new whole version, so that it can be undone.

`poses` is a link to one folder of `pose-versions/`; it is replaced atomically.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from rebalance_core.errors import UserError
from rebalance_core.system.files import remove_stale_temporaries, temp_path

KEPT = 20  # versions; the oldest go


def current_version(dataset: Path) -> Path | None:
    """The folder that `poses` links to now: read all files from this one, not through the link."""
    link = dataset / "poses"
    if not link.is_symlink() or not link.is_dir():
        return None
    target = link.resolve()
    in_versions = target.parent == (dataset / "pose-versions").resolve()
    return target if in_versions and _is_version(target) else None


@contextmanager
def changing(dataset: Path) -> Iterator[None]:
    """Hold this over reading a version and writing the next: one change at a time."""
    with FileLock(dataset / ".poses.lock"):
        yield


@contextmanager
def new_version(dataset: Path) -> Iterator[Path]:
    """Fill a folder; at the end it is the current version, or nothing has changed."""
    versions = dataset / "pose-versions"
    versions.mkdir(exist_ok=True)
    link = dataset / "poses"
    if link.is_dir() and not link.is_symlink():  # version 0.1.0's, which counts as none
        shutil.rmtree(link)
    remove_stale_temporaries(versions)
    aside = temp_path(versions / "new")
    aside.mkdir()
    try:
        yield aside
        target = versions / f"{_number(dataset) + 1:04d}"
        shutil.rmtree(target, ignore_errors=True)  # what a kill left between the next two lines
        os.rename(aside, target)
        _point(dataset, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in _versions(dataset)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def can_undo(dataset: Path) -> bool:
    return len(_versions(dataset)) > 1


def step_back(dataset: Path) -> None:
    """Make the version before the current one current again; raises UserError without one."""
    with changing(dataset):
        versions = _versions(dataset)
        if len(versions) < 2:
            raise UserError(f"There is no earlier state of the poses of {dataset.name} to go to.")
        _point(dataset, versions[-2])
        shutil.rmtree(versions[-1], ignore_errors=True)


def _versions(dataset: Path) -> list[Path]:
    """Whole versions up to the current one, oldest first."""
    found = sorted(filter(_is_version, (dataset / "pose-versions").glob("[!.]*")))
    return [path for path in found if int(path.name) <= _number(dataset)]


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal()


def _number(dataset: Path) -> int:
    current = current_version(dataset)
    return 0 if current is None else int(current.name)


def _point(dataset: Path, version: Path) -> None:
    remove_stale_temporaries(dataset)
    aside = temp_path(dataset / "poses")
    aside.mkdir()
    try:
        (aside / "link").symlink_to(version.relative_to(dataset), target_is_directory=True)
        os.replace(aside / "link", dataset / "poses")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
