"""Read untrusted zips: limits are checked in the central directory before unpacking."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rebalance_core.datasets.source import Entry, ImportConfig
from rebalance_core.errors import UserError, first_line

BLOCK = 2**20  # bytes
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError)


@contextmanager
def open_archive(path: Path, config: ImportConfig) -> Iterator[tuple[dict[str, Entry], list[str]]]:
    """The files and folders of a zip; raises UserError if it is damaged or exceeds a limit."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is not a readable zip ({error}); pack or download it again."
        ) from error
    with archive:
        members = archive.infolist()
        _check_limits(members, path, config)
        names: set[str] = set()
        for member in members:
            _check_member(member, path, config)
            if not member.is_dir() and _name(member) in names:
                raise UserError(
                    f"{path} contains {_name(member)!r} twice; pack it again with one of them."
                )
            names.add(_name(member))
        yield (
            {
                _name(m): Entry(m.file_size, _reader(archive, m, path))
                for m in members
                if not m.is_dir()
            },
            [_name(m) for m in members if m.is_dir()],
        )


def _name(member: zipfile.ZipInfo) -> str:
    return str(PurePosixPath(member.filename.replace("\\", "/")))


def _check_limits(members: list[zipfile.ZipInfo], path: Path, config: ImportConfig) -> None:
    gib = sum(m.file_size for m in members) / 2**30
    if len(members) > config.max_files or gib > config.max_gib:
        raise UserError(
            f"{path} contains {len(members)} files of {gib:.1f} GiB in total, more than the limits "
            f"of {config.max_files} files and {config.max_gib:g} GiB; split it, or raise "
            "--max-files or --max-gib."
        )


def _check_member(member: zipfile.ZipInfo, path: Path, config: ImportConfig) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in member.filename.partition("/")[0]:
        raise UserError(
            f"{path} is refused: its entry {member.filename!r} points outside the archive; "
            "pack it again from inside its folder."
        )
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


def _reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Callable[[], bytes]:
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
