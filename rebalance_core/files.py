"""Writing so that nothing half-written is ever read as whole."""

import errno
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.processes import live_process, own_process

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ASIDE = re.compile(r"\..*\.(?P<host>\w+)-(?P<pid>\d+)-(?P<started>\d+)-\w+")


def no_room(root: Path) -> str:
    """The sentence for a full disk."""
    return (
        f"There is no room left in {root}; free some, or set REBALANCE_HOME to a folder on a "
        "larger disk."
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically; a reader sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises UserError where the file is missing or no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not readable as JSON ({error}); restore or remove it."
        ) from error


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Fill a folder beside `target`; it becomes `target` at the end, or leaves nothing behind.

    Raises UserError if `target` exists, then or by the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    if target.exists():
        raise UserError(f"{target.name} exists already in {target.parent}; choose another name.")
    aside = _beside(target)
    aside.mkdir()
    try:
        yield aside
        try:
            # os.rename refuses a folder that is not empty: of two that race, one wins whole.
            os.rename(aside, target)
        except OSError as error:
            raise UserError(
                f"{target.name} was made by another process in the meantime; choose another name."
            ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are gone left of folders they were filling."""
    for path in folder.glob(".*"):
        found = _ASIDE.fullmatch(path.name)
        if found is None or found["host"] != _host():
            continue
        if live_process(int(found["pid"]), float(found["started"])) is None:
            shutil.rmtree(path, ignore_errors=True)


def _beside(target: Path) -> Path:
    """A hidden name beside `target` that says whose it is, for `sweep`."""
    me = own_process()
    owner = f"{_host()}-{me['pid']}-{me['pid_started']:.0f}-{secrets.token_hex(4)}"
    return target.with_name(f".{target.name}.{owner}")


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())


def remove_folder(path: Path) -> None:
    """Remove a folder at once: renamed aside first, so that no half of it is ever seen."""
    aside = _beside(path)
    os.replace(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def replace_folder(aside: Path, target: Path) -> None:
    """Put the finished folder `aside` where `target` is or was (same file system)."""
    if target.exists():
        old = _beside(target)
        os.replace(target, old)
        os.replace(aside, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(aside, target)
