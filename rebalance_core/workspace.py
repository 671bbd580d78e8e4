"""Where things live on disk."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.system.files import can_write, cannot_write, nearest_existing

HOME_VARIABLE = "REBALANCE_HOME"
_NAME = re.compile(r"[\w][\w .+-]{0,63}")
# What Windows takes for a device, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)


def check_name(name: str, what: str = "name") -> str:
    """A name that is safe as a folder on every system; raises UserError otherwise."""
    # Letters may take four bytes each, and a disk takes 255 bytes a name.
    if _DEVICE.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be used as a {what}: some systems take it for a device; use another."
        )
    if not _NAME.fullmatch(name) or name.endswith((".", " ")) or len(name.encode()) > 200:
        raise UserError(
            f"{name!r} cannot be used as a {what}: use up to 64 letters, digits, spaces, "
            "dots, dashes, plus signs and underscores, starting with a letter or digit."
        )
    return name


def home() -> Path:
    """The folder that $REBALANCE_HOME names, or ./workspace, whether it can be used or not."""
    path = Path(os.environ.get(HOME_VARIABLE) or "workspace")
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return path.absolute()


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace; made when first written to."""

    root: Path

    @classmethod
    def here(cls) -> "Workspace":
        """The workspace that $REBALANCE_HOME names, or ./workspace; raises UserError where there
        is none and none can be made."""
        workspace = cls(home())
        try:
            begun = any(f.is_dir() for f in (workspace.datasets, workspace.runs, workspace.sets))
            usable = begun or can_write(workspace.root)
        except OSError:  # a name too long, links in a circle
            usable = False
        if not usable:
            raise UserError(cannot_write(workspace.root))
        return workspace

    @property
    def ground(self) -> Path:
        """The root, or the nearest folder above it that exists already."""
        return nearest_existing(self.root)

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def sets(self) -> Path:
        return self.root / "sets"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def synthetic(self) -> Path:
        return self.root / "synthetic"

    def unfinished_samples(self, run_id: str) -> Path:
        """Where a sampling run keeps its images until all are there."""
        return self.synthetic / f".{run_id}"

    @property
    def quizzes(self) -> Path:
        return self.root / "quizzes"

    def quiz_attempts(self, name: str) -> Path:
        """A line for each attempt at telling the images of a synthetic set from real ones."""
        return self.quizzes / f"{name}.jsonl"

    @property
    def exports(self) -> Path:
        """What a browser was given to download."""
        return self.root / "exports"

    @property
    def synthetic_exports(self) -> Path:
        """Apart from rebalanced sets, whose names can be the same: `<set>-<generator>`."""
        return self.exports / "synthetic"

    def exported_synthetic(self, name: str) -> Path:
        return self.synthetic_exports / f"{name}.zip"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"


def list_names(folder: Path) -> list[str]:
    """Names of the finished folders in `folder` (what is being written starts with a dot)."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
