"""Writing so that nothing half-written is ever read as whole."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.system.processes import current_process, find_process, host_name

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries that write by themselves say of a full disk instead: safetensors, NumPy.
_NO_ROOM_SAID = re.compile(
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
)
MAX_DEPTH = 100  # levels of nested JSON; the files written here have fewer than ten
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character, if it is not one of a pair
_ASIDE = re.compile(r"\..*\.(?P<host>\w+)-(?P<pid>\d+)-(?P<started>\d+)-\w+")


def digest(value: Any) -> str:
    """16 hex digits that stand for a value of plain types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def disk_full_message(root: Path) -> str:
    """The sentence for a full disk."""
    return (
        f"There is no room left in {root}; free some, or set REBALANCE_HOME to a folder on a "
        "larger disk."
    )


def is_disk_full(error: BaseException | None) -> bool:
    """Did this error, or one that led to it, come from a full disk?"""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        if _NO_ROOM_SAID.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def translate_disk_full(root: Path) -> Iterator[None]:
    """A full disk, or a workspace `root` that cannot be written, becomes one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise UserError(disk_full_message(root)) from error
        if isinstance(error, OSError) and not is_writable(root):
            raise UserError(not_writable_message(root)) from error
        raise


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def is_writable(root: Path) -> bool:
    """Whether a folder can be made in `root` or, until that exists, in the nearest above it."""
    try:
        probe = temp_path(nearest_existing(root) / "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return is_disk_full(error)  # a full disk is another matter
    return True


def not_writable_message(root: Path) -> str:
    """The sentence for a workspace that cannot be written."""
    return f"{root} cannot be written; set REBALANCE_HOME to a folder that can."


def write_bytes(path: Path, data: bytes, *, new_folders: bool = True) -> None:
    """Replace `path` by `data` atomically; a reader sees the old content or the new.

    Without `new_folders`, a folder that is gone stays gone (FileNotFoundError): a run's process
    must not bring back what somebody removed.
    """
    if new_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    aside = temp_path(path)
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


def write_json(path: Path, value: Any, *, new_folders: bool = True) -> None:
    data = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, data.encode(), new_folders=new_folders)


def sync_folder(folder: Path) -> None:
    """Make a rename within `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def read_json(path: Path) -> Any:
    """Raises UserError where the file is missing, unreadable or not JSON."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); restore or remove it."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is not readable as JSON ({error}); restore or remove it."
        ) from error


def parse_json(data: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError, and nothing else, for whatever is not one.

    Also refused is what parses but breaks those who use it: deep nesting, half characters.
    """
    text = data.decode() if isinstance(data, bytes) else data
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise ValueError("nested too deeply")
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def _is_deep(value: Any) -> bool:
    """Whether lists and objects stand more than MAX_DEPTH inside each other."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in inside for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside `target`; it becomes `target` at the end, or leaves nothing behind.

    Raises UserError if `target` exists, then or by the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(target.parent)
    if target.exists():
        raise UserError(f"{target.name} exists already in {target.parent}; choose another name.")
    aside = temp_path(target)
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


def atomic_zip(folder: Path, target: Path, top: str) -> None:
    """Pack `folder` as `top/…` into the zip `target`, whole or not at all, the same bytes for the
    same files; stored, since images don't get smaller."""
    remove_stale_temporaries(target.parent)
    aside = temp_path(target)
    try:
        with zipfile.ZipFile(aside, "x") as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(f"{top}/{file.relative_to(folder).as_posix()}")
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove what processes of this machine that are gone left of what they were writing."""
    for path in folder.glob(".*"):
        found = _ASIDE.fullmatch(path.name)
        if found is None or found["host"] != _host():
            continue
        if find_process(int(found["pid"]), float(found["started"])) is None:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def temp_path(target: Path) -> Path:
    """A hidden name beside `target` that says whose it is, for `sweep`."""
    me = current_process()
    owner = f"{_host()}-{me['pid']}-{me['pid_started']:.0f}-{secrets.token_hex(4)}"
    cut = target.name.encode()[:80].decode(errors="ignore")  # a disk takes 255 bytes a name
    return target.with_name(f".{cut}.{owner}")


def _host() -> str:
    return re.sub(r"\W", "_", host_name())[:60]


def remove_folder(path: Path) -> None:
    """Remove a folder at once: renamed aside first, so that no half of it is ever seen."""
    aside = temp_path(path)
    os.replace(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def replace_folder(aside: Path, target: Path) -> None:
    """Put the finished folder `aside` where `target` is or was (same file system)."""
    if target.exists():
        old = temp_path(target)
        os.replace(target, old)
        os.replace(aside, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(aside, target)
