"""The config of an import, and the images of its source before they are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from rebalance_core.config import Config, NewDataset, Seed
from rebalance_core.imaging.symmetry import Symmetries

BUILT_IN = ("phantom", "digits")
KAGGLE = "kaggle"
MAX_LABEL = 100  # characters
MIN_CHARACTERS = 8  # classes of one character from which they are taken for digits or letters
# The paper's data (CC0), pinned: https://www.kaggle.com/datasets/masoudnickparvar/...
KAGGLE_STUDY = "masoudnickparvar/brain-tumor-mri-dataset/versions/1"
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class ImportConfig(Config):
    """What to import, the limits of archives, and the size of the phantom."""

    name: NewDataset
    source: str  # phantom | digits | kaggle | kaggle:owner/dataset | path of a zip, folder or CSV
    count: int = 1000  # images of the phantom, training and test
    size: int = 128  # of the phantom, px per side
    seed: Seed = 0  # of the phantom
    # under which an image is still the same picture; auto: none for digits and letters, else all
    symmetries: Symmetries | Literal["auto"] = "auto"
    max_files: int = Field(default=500_000, ge=1)  # of a zip
    max_gib: float = Field(default=64.0, gt=0)  # of a zip, unpacked
    max_ratio: float = Field(default=200.0, gt=1)  # unpacked : packed, of files over 1 MiB in a zip


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
    """A file in a folder or zip: its size in bytes, and how to read it."""

    size: int
    read: Callable[[], bytes]


def is_label(label: str) -> bool:
    """Whether a class name is a valid folder name on every system, and not a Markdown link."""
    is_hidden = not label or label.startswith(".")
    is_reserved = set(label) & set("/\\") or "](" in label
    return not is_hidden and not is_reserved and len(label) <= MAX_LABEL and label.isprintable()
