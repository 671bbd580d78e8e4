"""The config of an import, and the images of its source before they are read."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from rebalance_core.config import Config, NewDataset, Seed
from rebalance_core.datasets.left_out import LeftOutFile
from rebalance_core.imaging.decode import HEAD
from rebalance_core.imaging.picture import Plane
from rebalance_core.imaging.symmetry import Symmetries

Column = Literal["path", "label", "split", "group"]
BUILT_IN = ("phantom", "digits")
KAGGLE = "kaggle"
MAX_LABEL = 100  # characters
MIN_CHARACTERS = 8  # classes of one character from which they are taken for digits or letters
# The paper's data (CC0), pinned: https://www.kaggle.com/datasets/masoudnickparvar/...
KAGGLE_STUDY = "masoudnickparvar/brain-tumor-mri-dataset/versions/1"
TABLE_SUFFIXES = (".csv", ".tsv")
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_SPLIT_FOLDER = re.compile(r"([a-z]+)[ _-]?(set|data|dataset|images|imgs|split)")


class ImportConfig(Config):
    """What to import, the limits of archives, and the size of the phantom."""

    name: NewDataset
    source: str  # phantom | digits | kaggle | kaggle:owner/dataset | path of a zip, folder or CSV
    count: int = 1000  # images of the phantom, training and test
    size: int = 128  # of the phantom, px per side
    seed: Seed = 0  # of the phantom
    # under which an image is still the same picture; auto: none for digits and letters, else all
    symmetries: Symmetries | Literal["auto"] = "auto"
    # LOW,HIGH: gray values shown as 0 and 255, of images that are not 8 bits; auto: by their data
    gray_range: str = "auto"
    plane: Plane = "axial"  # of the slices of NIfTI volumes
    slice_step: int = Field(default=5, ge=1)  # every n-th slice is an image
    max_files: int = Field(default=500_000, ge=1)  # of a zip
    max_gib: float = Field(default=64.0, gt=0)  # of a zip, unpacked
    max_ratio: float = Field(default=200.0, gt=1)  # unpacked : packed, of files over 1 MiB in a zip
    encoding: str = ""  # of the names in a zip, and of a CSV; '': UTF-8
    # headings of a CSV, where they are not recognised
    columns: dict[Column, str] = Field(default_factory=dict)

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str) -> str:
        try:
            "a".encode(name or "utf-8")
        except (LookupError, ValueError) as error:
            raise ValueError(
                "there is no such text encoding; try gbk, shift_jis or cp1252"
            ) from error
        return name

    @field_validator("gray_range")
    @classmethod
    def _check_range(cls, value: str) -> str:
        parse_range(value)
        return value

    @property
    def gray_limits(self) -> tuple[float, float] | None:
        return parse_range(self.gray_range)


def split_of(folder: str) -> str:
    """The split that a folder is named after, such as `Training` or `test_images`; '' if none."""
    name = folder.lower().strip()
    if name in SPLIT_FOLDERS:
        return SPLIT_FOLDERS[name]
    match = _SPLIT_FOLDER.fullmatch(name)
    return SPLIT_FOLDERS.get(match[1], "") if match else ""


def parse_range(text: str) -> tuple[float, float] | None:
    """`LOW,HIGH` as two numbers; None for `auto`. Raises ValueError for other text."""
    if text == "auto":
        return None
    low, _, high = text.partition(",")
    try:
        limits = float(low), float(high)
    except ValueError as error:
        raise ValueError("write LOW,HIGH, such as -1000,400, or auto") from error
    if not (math.isfinite(limits[0]) and math.isfinite(limits[1]) and limits[0] < limits[1]):
        raise ValueError("LOW must be less than HIGH, and both finite")
    return limits


def guess_symmetries(source: str, classes: list[str]) -> Symmetries:
    """The symmetries of `auto`: none for digits and letters, that is many classes of one character.

    Few classes of one character may be grades, or 0 and 1 for healthy and ill.
    """
    has_characters = len(classes) >= MIN_CHARACTERS and all(len(label) == 1 for label in classes)
    is_writing = source == "digits" or has_characters
    return "none" if is_writing else "all"


@dataclass(frozen=True)
class SourceFile:
    """One image of the source: its id, its label, and how to read its bytes."""

    image: str
    label: str
    split: str
    read: Callable[[], bytes]
    size: int = 0  # bytes
    group: str = ""  # the patient, if known
    pose: str = ""
    head: Callable[[], bytes] | None = None  # its first bytes, without the rest


def file_reader(path: Path) -> Callable[[], bytes]:
    """A function that reads the file, and raises ValueError if it cannot be read."""

    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error

    return read


@dataclass(frozen=True)
class Entry:
    """A file in a folder or zip: its size in bytes, and how to read it and its beginning."""

    size: int
    read: Callable[[], bytes]
    head: Callable[[], bytes] = field(default=bytes)  # HEAD bytes or fewer; b"" if unreadable


@dataclass(frozen=True)
class Listing:
    """All files and folders of a source by their paths, and the files that are left out."""

    files: dict[str, Entry]
    folders: list[str]
    left_out: list[LeftOutFile]


@dataclass(frozen=True)
class Source:
    """The images of a source, what of it is left out, and remarks about it, one sentence each."""

    files: list[SourceFile]
    left_out: list[LeftOutFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def head_reader(path: Path) -> Callable[[], bytes]:
    """A function that reads the first HEAD bytes of a file, or none if it cannot be read."""

    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(HEAD)
        except OSError:
            return b""

    return read


def path_entry(path: Path) -> Entry:
    """A file on disk; its size is 0 if unknown, where reading it gives the reason."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return Entry(size, file_reader(path), head_reader(path))


def is_label(label: str) -> bool:
    """Whether a class name is a valid folder name on every system, and not a Markdown link."""
    is_hidden = not label or label.startswith(".")
    is_reserved = set(label) & set("/\\") or "](" in label
    return not is_hidden and not is_reserved and len(label) <= MAX_LABEL and label.isprintable()
