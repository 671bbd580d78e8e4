"""A dataset's `manifest.json`, validated when read: users may have edited it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from rebalance_core.config import STRICT, Timestamp, problem
from rebalance_core.datasets.gray_levels import GrayLevels
from rebalance_core.datasets.left_out import LeftOutFile
from rebalance_core.datasets.source import guess_symmetries
from rebalance_core.errors import UserError
from rebalance_core.imaging.picture import Ground
from rebalance_core.imaging.symmetry import Symmetries
from rebalance_core.system.files import read_json

FORMAT = 2  # version of the dataset format on disk
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class UnreadableFile(BaseModel):
    """A file of the source that was skipped, and the reason."""

    model_config = STRICT
    image: str
    reason: str


class Manifest(BaseModel):
    """What an import records about a dataset, in addition to the catalogue."""

    model_config = STRICT
    format: Literal[2]
    classes: Annotated[list[str], Field(min_length=1)]
    channels: Literal[1, 3]
    fingerprint: Sha256
    catalogue: Sha256  # of catalogue.csv
    source: dict[str, str | int | float | bool | None]  # config of the import
    unreadable: list[UnreadableFile]
    left_out: list[LeftOutFile] = []  # files of the source that were not taken for images
    created: Timestamp
    symmetries: Symmetries  # under which an image is still the same picture
    gray_levels: list[GrayLevels] = []  # of images that are not 8 bits
    # behind transparent pixels; None for earlier versions, whose images are decoded as they did
    ground: Ground | None = None
    notes: list[str] = []  # what the import found out about source and images

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_format(cls, value: Any) -> Any:
        """Datasets of versions up to 0.1 have no symmetries."""
        if not isinstance(value, dict) or "symmetries" in value:
            return value
        source, classes = value.get("source"), value.get("classes")
        name = source.get("source") if isinstance(source, dict) else None
        labels = [c for c in classes if isinstance(c, str)] if isinstance(classes, list) else []
        return {**value, "symmetries": guess_symmetries(str(name), labels or ["?" * 2])}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`; raises UserError if it is missing or damaged."""
    try:
        value = read_json(folder / "manifest.json")
    except UserError as error:
        raise damaged(folder.name, "manifest.json cannot be read") from error
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise UserError(
            f"Dataset {folder.name} was imported by another version of the studio; remove it and "
            "import it again."
        )
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise damaged(folder.name, f"manifest.json: {problem(error)}") from error


def damaged(name: str, reason: str) -> UserError:
    """The error for a dataset whose files are missing or were changed."""
    return UserError(f"Dataset {name} is damaged ({reason}); remove it and import it again.")
