"""Atomic writes, and reading JSON from untrusted files."""

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
# Messages of safetensors and NumPy on a full disk, whose errors carry no errno.
_DISK_FULL_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
)
MAX_DEPTH = 100  # of nested JSON; our own files stay below ten
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character unless paired
_TEMPORARY = re.compile(r"\..*\.(?P<host>\w+)-(?P<pid>\d+)-(?P<started>\w+)-\w+")


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def disk_full_message(root: Path) -> str:
    """The user error for a full disk."""
    return (
        f"The disk of {root} is full; free some space, or set REBALANCE_HOME to a folder on a "
        "larger disk."
    )


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or one in its chain of causes, is due to a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        if _DISK_FULL_TEXT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def translate_disk_full(root: Path) -> Iterator[None]:
    """Raise UserError for errors due to a full disk or to a workspace `root` that is read-only."""
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
    """The path, or its nearest existing parent."""
    return next(p for p in (path, *path.parents) if p.exists())


def is_writable(root: Path) -> bool:
    """Whether a folder can be created in `root`, or in its nearest existing parent."""
    try:
        probe = temp_path(nearest_existing(root) / "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return is_disk_full(error)  # reported separately
    return True


def not_writable_message(root: Path) -> str:
    """The user error for a workspace that is not writable."""
    return f"{root} cannot be written; set REBALANCE_HOME to a folder that can."


def write_bytes(path: Path, data: bytes, *, new_folders: bool = True) -> None:
    """Atomically replace the content of `path`: a reader sees the old content or the new.

    Without `new_folders`, raises FileNotFoundError if the folder is missing, so that the process
    of a run does not recreate a run that was removed.
    """
    if new_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temp_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, *, new_folders: bool = True) -> None:
    data = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, data.encode(), new_folders=new_folders)


def create_json(path: Path, value: Any) -> None:
    """Atomically write a new JSON file; raises FileExistsError if there is one already.

    Of several processes that create the same file, exactly one succeeds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = temp_path(path)
    write_json(draft, value)
    try:
        os.link(draft, path)  # unlike a rename, fails where the target exists
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: atomic in name, if not in content
        with path.open("xb") as file:
            try:
                file.write(draft.read_bytes())
                file.flush()
            except OSError:
                path.unlink()
                raise
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush renames within `folder` to disk, where the system supports it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises UserError if it is missing, unreadable or not JSON."""
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
    """Parse JSON; raises ValueError, and nothing else, on invalid input.

    Deep nesting and unpaired surrogates, on which later steps would fail, are invalid too.
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
    """Whether lists and objects are nested more than MAX_DEPTH deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        children = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in children for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `target` on success and removed on failure.

    Raises UserError if `target` exists at the start or at the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(target.parent)
    if target.exists():
        raise UserError(f"{target.name} already exists in {target.parent}; choose another name.")
    temporary = temp_path(target)
    temporary.mkdir()
    try:
        yield temporary
        try:
            # os.rename fails if the target is a folder with content: of two processes, one wins.
            os.rename(temporary, target)
        except OSError as error:
            raise UserError(
                f"Another process created {target.name} in the meantime; choose another name."
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def atomic_zip(folder: Path, target: Path, top: str) -> None:
    """Atomically write `folder` as `top/…` into the zip `target`.

    Equal files give equal bytes. Entries are stored uncompressed: images do not shrink.
    """
    remove_stale_temporaries(target.parent)
    temporary = temp_path(target)
    try:
        with zipfile.ZipFile(temporary, "x") as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(f"{top}/{file.relative_to(folder).as_posix()}")
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove temporary files and folders whose process, on this machine, has exited."""
    for path in folder.glob(".*"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or match["host"] != _host():
            continue
        started = match["started"]  # a birth, or seconds since 1970
        if find_process(int(match["pid"]), float(started) if started.isdecimal() else started):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def temp_path(target: Path) -> Path:
    """A hidden path next to `target`, named after this process for `remove_stale_temporaries`."""
    process = current_process()
    started = process["birth"] or f"{process['pid_started']:.0f}"
    owner = f"{_host()}-{process['pid']}-{started}-{secrets.token_hex(4)}"
    prefix = target.name.encode()[:80].decode(errors="ignore")  # names are limited to 255 bytes
    return target.with_name(f".{prefix}.{owner}")


def _host() -> str:
    return re.sub(r"\W", "_", host_name())[:60]


def remove_folder(path: Path) -> None:
    """Atomically remove a folder: it is renamed first, so that nobody sees it half removed."""
    temporary = temp_path(path)
    os.replace(path, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Move the complete folder `source` to `target`, replacing it (same file system)."""
    if target.exists():
        old = temp_path(target)
        os.replace(target, old)
        os.replace(source, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(source, target)
