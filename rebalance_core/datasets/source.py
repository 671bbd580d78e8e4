"""What is imported: where from, and one image to come."""

from collections.abc import Callable
from dataclasses import dataclass

from rebalance_core.config import Config, Seed


class ImportConfig(Config):
    """What to import, and how many images a built-in makes."""

    name: str
    source: str  # phantom | digits | path of a zip or folder in Kaggle's layout
    count: int = 1000  # images of the phantom, training and test together
    size: int = 128  # px, of the phantom
    seed: Seed = 0  # of the phantom


@dataclass(frozen=True)
class SourceFile:
    """One image to come: its id, its label, and how to read its bytes."""

    image: str
    label: str
    split: str
    read: Callable[[], bytes]
    pose: str = ""
