"""Read untrusted zips: limits are checked in the central directory before unpacking."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rebalance_core.datasets.archive_names import decode_names
from rebalance_core.datasets.source import Entry, ImportConfig, Listing
from rebalance_core.errors import UserError, first_line
from rebalance_core.imaging.decode import HEAD

BLOCK = 2**20  # bytes
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError)


@contextmanager
def open_archive(
    file: Path | BinaryIO, config: ImportConfig, path: Path | str | None = None
) -> Iterator[Listing]:
    """The files and folders of a zip; raises UserError if it is damaged or exceeds a limit.

    Errors name it as `path`.
    """
    path = path or str(file)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is not a readable zip ({error}); pack or download it again."
        ) from error
    with archive:
        members = archive.infolist()
        _check_limits(members, path, config)
        files: dict[str, Entry] = {}
        folders = []
        for member, name in zip(members, decode_names(members, path, config.encoding), strict=True):
            _check_name(name, path)
            _check_member(member, path, config)
            name = str(PurePosixPath(name.replace("\\", "/")))
            if member.is_dir():
                folders.append(name)
            elif name in files:
                raise UserError(f"{path} contains {name!r} twice; pack it again with one of them.")
            else:
                read = _reader(archive, member, path)
                files[name] = Entry(member.file_size, read, _head_reader(archive, member))
        yield Listing(files, folders, [])


def _check_limits(members: list[zipfile.ZipInfo], path: Path | str, config: ImportConfig) -> None:
    gib = sum(m.file_size for m in members) / 2**30
    if len(members) > config.max_files or gib > config.max_gib:
        raise UserError(
            f"{path} contains {len(members)} files of {gib:.1f} GiB in total, more than the limits "
            f"of {config.max_files} files and {config.max_gib:g} GiB; split it, or raise "
            "--max-files or --max-gib."
        )


def _check_name(text: str, path: Path | str) -> None:
    """Raise UserError for a name that is absolute or leaves the archive."""
    name = PurePosixPath(text.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in text.partition("/")[0]:
        raise UserError(
            f"{path} is refused: its entry {text!r} points outside the archive; "
            "pack it again from inside its folder."
        )


def _check_member(member: zipfile.ZipInfo, path: Path | str, config: ImportConfig) -> None:
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(
            f"{path} is refused: its entry {member.filename!r} is a link; pack the files instead."
        )
    if member.flag_bits & 1:
        raise UserError(f"{path} is password-protected; unpack it and import the folder.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{path} uses a compression method whose size cannot be checked (its entry "
            f"{member.filename!r}); unpack it and import the folder."
        )
    if member.file_size > max(2**20, config.max_ratio * member.compress_size):
        raise UserError(
            f"{path} is refused: its entry {member.filename!r} unpacks to {member.file_size} "
            f"bytes from {member.compress_size}, over {config.max_ratio:g} : 1; if you trust it, "
            "raise --max-ratio."
        )


def _head_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(member) as file:
                return file.read(HEAD)
        except (NotImplementedError, *DAMAGED):
            return b""

    return read


def _reader(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path | str
) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            # in blocks, since a member whose stated size is wrong is read only up to that size
            with archive.open(member) as file:
                return b"".join(iter(lambda: file.read(BLOCK), b""))
        except NotImplementedError as error:
            raise UserError(
                f"{path} uses an unsupported compression ({first_line(error)}); unpack it and "
                "import the folder."
            ) from error
        except DAMAGED as error:
            raise UserError(
                f"{path} is damaged at {member.filename!r} ({first_line(error)}); pack it again."
            ) from error

    return read
