"""Writing so that nothing half-written is ever read as whole."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError


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
    if target.exists():
        raise UserError(f"{target.name} exists already in {target.parent}; choose another name.")
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    aside.chmod(0o755)
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


def remove_folder(path: Path) -> None:
    """Remove a folder at once: renamed aside first, so that no half of it is ever seen."""
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=".removed."))
    os.replace(path, aside / path.name)
    shutil.rmtree(aside, ignore_errors=True)


def replace_folder(aside: Path, target: Path) -> None:
    """Put the finished folder `aside` where `target` is or was (same file system)."""
    if target.exists():
        old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
        os.replace(target, old / target.name)
        os.replace(aside, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(aside, target)
