"""What is imported: where from, and one image to come."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from rebalance_core.config import Config, NewDataset, Seed

BUILT_IN = ("phantom", "digits")
KAGGLE = "kaggle"
MAX_LABEL = 100  # characters
# The study's data (CC0), pinned: https://www.kaggle.com/datasets/masoudnickparvar/...
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
    """What to import, within which limits, and how many images a built-in makes."""

    name: NewDataset
    source: str  # phantom | digits | kaggle | kaggle:owner/dataset | path of a zip, folder or CSV
    count: int = 1000  # images of the phantom, training and test together
    size: int = 128  # px, of the phantom
    seed: Seed = 0  # of the phantom
    max_files: int = Field(default=500_000, ge=1)  # of a zip
    max_gib: float = Field(default=64.0, gt=0)  # of a zip, unpacked
    max_ratio: float = Field(default=200.0, gt=1)  # unpacked : packed, of a zip's file over 1 MiB


@dataclass(frozen=True)
class SourceFile:
    """One image to come: its id, its label, and how to read its bytes."""

    image: str
    label: str
    split: str
    read: Callable[[], bytes]
    size: int = 0  # bytes
    group: str = ""  # the patient, where known
    pose: str = ""


def file_reader(path: Path) -> Callable[[], bytes]:
    """Reads the file later; raises ValueError then where that cannot be done."""

    def read() -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error

    return read


@dataclass(frozen=True)
class Entry:
    """A file of a folder or zip: how long it is, how to read it."""

    size: int
    read: Callable[[], bytes]


def is_label(label: str) -> bool:
    """True for a class name that can be a folder's name on every system, and that no page takes
    for the address of a picture (`![](…)`)."""
    hidden = not label or label.startswith(".")
    odd = set(label) & set("/\\") or "](" in label
    return not hidden and not odd and len(label) <= MAX_LABEL and label.isprintable()
