"""The names in a zip, which old programs write in the code page of their system."""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from rebalance_core.errors import UserError

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # the extra field of Info-ZIP that holds the name in UTF-8
# Code pages that are suggested, where the names make sense in them.
CODE_PAGES = (
    *("gbk", "big5", "shift_jis", "euc_kr", "cp1251", "cp866", "cp1252", "cp850", "cp437"),
    *("cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "tis_620"),
)
MAX_SUGGESTIONS, MAX_SHOWN = 6, 3  # code pages and names in a sentence


def decode_names(
    members: Sequence[zipfile.ZipInfo], path: Path | str, encoding: str = ""
) -> list[str]:
    """The names of a zip's entries, with slashes as they are.

    A name without the flag of UTF-8 is in `encoding`; without one, all such names must be UTF-8.
    Raises UserError, with the names in several code pages, if they are not.
    """
    stated = [_stated_name(member) for member in members]
    raw = [b"" if name is not None else _raw(m) for name, m in zip(stated, members, strict=True)]
    try:
        decoded = [name.decode(encoding or "utf-8") for name in raw]
    except UnicodeError as error:
        raise UserError(_refusal([name for name in raw if name], path, encoding)) from error
    pairs = zip(stated, decoded, strict=True)
    return [unstated if name is None else name for name, unstated in pairs]


def _raw(member: zipfile.ZipInfo) -> bytes:
    """The bytes of a name, which zipfile has decoded as code page 437."""
    return member.orig_filename.encode("cp437").partition(b"\0")[0]


def _stated_name(member: zipfile.ZipInfo) -> str | None:
    """The name of an entry that states its encoding or is ASCII; None for another."""
    if member.flag_bits & UTF8_FLAG or member.orig_filename.isascii():
        return member.filename
    crc = zlib.crc32(_raw(member))
    for kind, data in _extra_fields(member.extra):
        if kind == UNICODE_PATH and data[:5] == struct.pack("<BL", 1, crc):
            with suppress(UnicodeError):
                return data[5:].decode()
    return None


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _refusal(raw: list[bytes], path: Path | str, encoding: str) -> str:
    """The sentence that shows how the names look in several code pages."""
    shown = _telling_names(raw)
    looks = []
    for page in CODE_PAGES:
        try:
            names = [name.decode(page) for name in shown]
            b"".join(raw).decode(page)
        except UnicodeError:
            continue
        if page != encoding and all(name.isprintable() for name in names):
            looks.append(f"{page}: {', '.join(names)}")
    examples = "; ".join(looks[:MAX_SUGGESTIONS]) or "none of the usual ones fits"
    what = f"are not in {encoding}" if encoding else "are in an unknown code page"
    return (
        f"{path} has names that {what}; choose theirs with --encoding ({examples}), or pack it "
        "again with names in UTF-8."
    )


def _telling_names(raw: list[bytes]) -> list[bytes]:
    """A few names that are not ASCII: of folders if there are any, else of files."""
    paths = [PurePosixPath(name.decode("latin-1")) for name in raw]
    folders = [part for path in paths for part in path.parts[:-1]]
    names = [path.name for path in paths]
    telling = [n for n in dict.fromkeys(folders + names) if not n.isascii()]
    first = [n for n in telling if n in set(folders)] or telling
    return [name.encode("latin-1") for name in first[:MAX_SHOWN]]
