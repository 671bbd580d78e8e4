"""Where things live on disk."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.system.files import is_writable, nearest_existing, not_writable_message

HOME_VARIABLE = "REBALANCE_HOME"
MAX_NAME_LENGTH, MAX_NAME_BYTES = 64, 200
_NAME = re.compile(rf"\w[\w .+-]{{0,{MAX_NAME_LENGTH - 1}}}")
# What Windows takes for a device, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)


def check_name(name: str, what: str = "name") -> str:
    """A name that is safe as a folder on every system; raises UserError otherwise."""
    if _DEVICE.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be used as a {what}: some systems take it for a device; use another."
        )
    if not _NAME.fullmatch(name) or name.endswith((".", " ")) or _has_too_many_bytes(name):
        raise UserError(
            f"{name!r} cannot be used as a {what}: use up to {MAX_NAME_LENGTH} letters, digits, "
            "spaces, dots, dashes, plus signs and underscores, starting with a letter or digit."
        )
    return name


def free_name(base: str, taken: Collection[str], *, numbered: bool = False) -> str:
    """A name that is not taken: `base`, `base-2`, …; with `numbered`, `base-1`, `base-2`, …

    A long `base` is cut so that the name is within the limits of `check_name`.
    """
    suffixes = (f"-{n}" if numbered or n > 1 else "" for n in count(1))
    return next(name for suffix in suffixes if (name := _cut(base, suffix)) not in taken)


def _cut(base: str, suffix: str) -> str:
    base = base[: MAX_NAME_LENGTH - len(suffix)]
    while _has_too_many_bytes(base + suffix):
        base = base[:-1]
    return (base + suffix).rstrip(". ")


def _has_too_many_bytes(name: str) -> bool:
    """A letter may take four bytes, and most file systems allow 255 bytes per name."""
    return len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES


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
    def from_environment(cls) -> "Workspace":
        """The workspace that $REBALANCE_HOME names, or ./workspace; raises UserError where there
        is none and none can be made."""
        workspace = cls(home())
        try:
            begun = any(f.is_dir() for f in (workspace.datasets, workspace.runs, workspace.sets))
            usable = begun or is_writable(workspace.root)
        except OSError:  # a name too long, links in a circle
            usable = False
        if not usable:
            raise UserError(not_writable_message(workspace.root))
        return workspace

    @property
    def nearest_existing(self) -> Path:
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

    def partial_samples(self, run_id: str) -> Path:
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
