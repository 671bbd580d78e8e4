"""Files of a source that an import leaves out: each with its reason, its class and a count."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, Field

from rebalance_core.config import STRICT
from rebalance_core.imaging.placeholders import REMEDIES

OUTSIDE_LINK = "a link to outside of the folder"
BROKEN_LINK = "a broken link"
ANNEX_LINK = "a git-annex link without its content"
CIRCULAR_LINK = "a link to a folder that is followed already"
LINKED = "a file that a link leads to"
HIDDEN = "a hidden file"
SYSTEM = "a system file"
SPECIAL = "a device, pipe or socket"
ARCHIVE = "an archive inside the source"
TABLE = "a CSV that is not used"
MASK = "a mask of another image"
REPEATED = "a repetition of another file"
BESIDE_SPLITS = "an image in a folder beside the split folders"
UNLISTED = "an image that the CSV does not list"
# Reasons for which a folder may contain images and yet not be a class.
EXPLAINED = {LINKED, MASK, REPEATED, BESIDE_SPLITS, CIRCULAR_LINK}
UNSUPPORTED = "a file in an unsupported format"
NOT_IMAGE = "a file that is not an image"
# Suffixes of images and volumes that are not read.
UNREAD_SUFFIXES = {
    *(".heic", ".heif", ".jxl", ".svg", ".ico", ".tga", ".psd", ".eps", ".pdf", ".exr", ".hdr"),
    *(".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt", ".tfrecord", ".parquet", ".lmdb"),
    *(".mha", ".mhd", ".nrrd", ".img", ".svs", ".ndpi", ".mrxs", ".czi", ".raw", ".cr3"),
    *(".nef", ".dng", ".cr2", ".arw", ".orf", ".pef", ".srw", ".nrw", ".mp4", ".avi", ".mov"),
}
ARCHIVE_SUFFIXES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"}
# Suffixes of files that people keep beside images; a folder of nothing else is not a class.
DOCUMENT_SUFFIXES = {
    *(".txt", ".md", ".rst", ".html", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".csv", ".tsv"),
    *(".json", ".xml", ".yaml", ".yml", ".ini", ".cfg", ".log", ".py", ".ipynb", ".m", ".r", ".sh"),
}
# Zips by content that people do not call archives.
ZIPPED_SUFFIXES = {".npz", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".jar", ".pt", ".pth", ".whl"}
ARCHIVE_MAGIC = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf'\x1c", b"Rar!\x1a")
# Further remedies than those of placeholders; the others follow from the sentence's context.
REMEDY = {
    **REMEDIES,
    OUTSIDE_LINK: "copy the files themselves (`cp -rL`), or choose the folder that contains both",
    BROKEN_LINK: "copy the files themselves (`cp -rL`) from where they are",
    ANNEX_LINK: "fetch the images with `git annex get .`",
    ARCHIVE: "unpack it first",
}
MAX_LISTED = 100  # files of one class and reason that are listed by name
PLURALS = (
    ("a git-annex link", "git-annex links"),
    ("a broken link", "broken links"),
    ("a link", "links"),
    ("a file", "files"),
    ("a hidden file", "hidden files"),
    ("a system file", "system files"),
    ("an archive", "archives"),
    ("a CSV", "CSVs"),
    ("a mask", "masks"),
    ("a repetition", "repetitions"),
    ("an image", "images"),
    ("a device, pipe or socket", "devices, pipes or sockets"),
)


class LeftOutFile(BaseModel):
    """A file of the source that was left out: its path, its class ('' if unknown), the reason."""

    model_config = {**STRICT, "populate_by_name": True}
    file: str
    label: str = Field(default="", alias="class")
    reason: str
    count: int = Field(default=1, ge=1)  # files that this entry stands for


def leave_out(name: str, reason: str, label: str = "") -> LeftOutFile:
    """The record of a file that is left out; bytes of its name that are not UTF-8 are escaped."""
    text = name.encode(errors="backslashreplace").decode()
    return LeftOutFile(file=text, label=label, reason=reason)


def unused_reason(name: str, head: bytes) -> str:
    """Why a file whose content is not an image's is left out."""
    suffix = PurePosixPath(name).suffix.lower()
    is_packed = head.startswith(ARCHIVE_MAGIC) or head[257:262] == b"ustar"
    if suffix in ARCHIVE_SUFFIXES or (is_packed and suffix not in ZIPPED_SUFFIXES):
        return ARCHIVE
    reason = UNSUPPORTED if suffix in UNREAD_SUFFIXES else NOT_IMAGE
    return f"{reason} ({suffix or 'no suffix'})"


def fold(files: Iterable[LeftOutFile]) -> list[LeftOutFile]:
    """The files sorted by name; beyond MAX_LISTED of one class and reason, as one entry."""
    groups: dict[tuple[str, str], list[LeftOutFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: file.file):
        groups[file.label, file.reason].append(file)
    listed = []
    for group in groups.values():
        listed += group[:MAX_LISTED]
        if rest := group[MAX_LISTED:]:
            total = sum(file.count for file in rest)
            listed.append(rest[0].model_copy(update={"count": total}))
    return sorted(listed, key=lambda file: file.file)


def count_by_class(files: Iterable[LeftOutFile]) -> dict[str, dict[str, int]]:
    """{class, or '' where it is unknown: {reason: number of files}}, most frequent reason first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        counts[file.label][file.reason] += file.count
    return {label: dict(counts[label].most_common()) for label in sorted(counts)}


def left_out_record(files: Sequence[LeftOutFile]) -> dict[str, Any]:
    """Files that are left out, and their counts by class and reason."""
    return {
        "left_out": [file.model_dump(by_alias=True) for file in files],
        "left_out_counts": count_by_class(files),
    }


def plural(reason: str, count: int) -> str:
    """`3 links to outside of the folder` for 3 files that were left out for this reason."""
    for one, many in PLURALS:
        if reason.startswith(one) and count > 1:
            text = many + reason.removeprefix(one)
            return f"{count} {text.replace('that is ', 'that are ')}".replace(
                "files that are not an image", "files that are not images"
            )
    return f"{count} {reason.removeprefix('an ').removeprefix('a ')}"


def describe(files: list[LeftOutFile]) -> str:
    """`20 links to outside of the folder, first a/0.png, and 3 other files`; '' for no files."""
    if not files:
        return ""
    counts = _count_reasons(files)
    reason, count = counts.most_common(1)[0]
    first = min(file.file for file in files if file.reason == reason)
    others = sum(file.count for file in files) - count
    more = f", and {others} other file{'s' if others > 1 else ''}" if others else ""
    return f"{plural(reason, count)}, first {first}{more}"


def remedy(files: list[LeftOutFile], default: str) -> str:
    """How to mend the most frequent reason, or `default`."""
    counts = _count_reasons(files)
    return REMEDY.get(counts.most_common(1)[0][0], default) if counts else default


def _count_reasons(files: list[LeftOutFile]) -> Counter[str]:
    """{reason: number of files}, without hidden and system files where there are others."""
    counts: Counter[str] = Counter()
    for file in files:
        counts[file.reason] += file.count
    telling = Counter({r: n for r, n in counts.items() if r not in (HIDDEN, SYSTEM)})
    return telling or counts
