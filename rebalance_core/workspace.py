"""The layout of a workspace on disk, and valid names in it."""

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
# Reserved device names of Windows, with any suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)


def check_name(name: str, what: str = "name") -> str:
    """Return `name` if it is a valid folder name on every system; raises UserError otherwise."""
    if _DEVICE.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be used as a {what}: some systems reserve it; use another."
        )
    if not _NAME.fullmatch(name) or name.endswith((".", " ")) or _has_too_many_bytes(name):
        raise UserError(
            f"{name!r} cannot be used as a {what}: use up to {MAX_NAME_LENGTH} letters, digits, "
            "spaces, dots, dashes, plus signs and underscores, starting with a letter or digit."
        )
    return name


def free_name(base: str, existing: Collection[str], *, numbered: bool = False) -> str:
    """The first name not in `existing`: `base`, `base-2`, …; if `numbered`, `base-1`, `base-2`, …

    A long `base` is truncated to the limits of `check_name`.
    """
    suffixes = (f"-{n}" if numbered or n > 1 else "" for n in count(1))
    return next(name for suffix in suffixes if (name := _truncate(base, suffix)) not in existing)


def _truncate(base: str, suffix: str) -> str:
    base = base[: MAX_NAME_LENGTH - len(suffix)]
    while _has_too_many_bytes(base + suffix):
        base = base[:-1]
    return (base + suffix).rstrip(". ")


def _has_too_many_bytes(name: str) -> bool:
    """A character may take four bytes; most file systems allow 255 bytes per name."""
    return len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES


def home() -> Path:
    """The path in $REBALANCE_HOME, or ./workspace, whether or not it is usable.

    Raises UserError for `~user/…` of a user who does not exist.
    """
    path = Path(os.environ.get(HOME_VARIABLE) or "workspace")
    try:
        path = path.expanduser()  # shells expand `~`, files of services do not
    except RuntimeError as error:
        raise UserError(
            f"{path} in {HOME_VARIABLE} has no such home folder; write the whole path."
        ) from error
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # circular links
        return path.absolute()


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace; each is created on first write."""

    root: Path

    @classmethod
    def from_environment(cls) -> "Workspace":
        """The workspace at $REBALANCE_HOME, or at ./workspace.

        Raises UserError if there is none and none can be created.
        """
        workspace = cls(home())
        try:
            folders = workspace.datasets, workspace.runs, workspace.sets
            is_usable = any(f.is_dir() for f in folders) or is_writable(workspace.root)
        except OSError:  # name too long, circular links
            is_usable = False
        if not is_usable:
            raise UserError(not_writable_message(workspace.root))
        return workspace

    @property
    def nearest_existing(self) -> Path:
        """The root, or its nearest existing parent."""
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
        """Where a sampling run writes its images until the set is complete."""
        return self.synthetic / f".{run_id}"

    @property
    def evaluations(self) -> Path:
        """One file per list of test images that a comparison has evaluated on."""
        return self.root / "evaluations"

    @property
    def quizzes(self) -> Path:
        return self.root / "quizzes"

    def quiz_attempts(self, name: str) -> Path:
        """One line per attempt at the quiz on a synthetic set (real or generated?)."""
        return self.quizzes / f"{name}.jsonl"

    @property
    def exports(self) -> Path:
        """Archives for download in the browser."""
        return self.root / "exports"

    @property
    def synthetic_exports(self) -> Path:
        """Separate from rebalanced sets, which may have the same name: `<set>-<generator>`."""
        return self.exports / "synthetic"

    def exported_synthetic(self, name: str) -> Path:
        return self.synthetic_exports / f"{name}.zip"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"


def list_names(folder: Path) -> list[str]:
    """Names of the complete folders in `folder`; incomplete ones have a leading dot."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
