"""All files of a folder: links inside its own tree are followed, hidden files are counted."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

from rebalance_core.datasets.left_out import (
    ANNEX_LINK,
    BROKEN_LINK,
    CIRCULAR_LINK,
    HIDDEN,
    LINKED,
    OUTSIDE_LINK,
    SPECIAL,
    SYSTEM,
    LeftOutFile,
    leave_out,
)
from rebalance_core.datasets.source import Entry, Listing, path_entry
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import has_image_suffix

SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", ".ds_store")
LAYOUT = "<class>/*.png, or Training|Testing/<class>/*.png"


def walk_folder(folder: Path) -> Listing:
    """All files and folders below `folder`; raises UserError for a folder that is not readable.

    A link is followed if its target is inside `folder`; the target is then left out at its own
    place, so that a store of files beside class folders of links is not a class.
    """
    walk = _Walk(folder)
    while walk.pending:
        walk.visit(*walk.pending.popleft())
    return walk.listing()


class _Walk:
    """The state of a walk: what was found, and where links lead to."""

    def __init__(self, root: Path) -> None:
        self.real_root = Path(os.path.realpath(root))
        self.files: dict[str, Entry] = {}
        self.folders: list[str] = []
        self.left_out: list[LeftOutFile] = []
        self.targets: set[str] = set()  # real paths of files that links lead to
        self.entered: set[str] = set()  # real paths of folders that were entered through a link
        # folders to visit: path, name with a slash, whether they were reached through a link
        self.pending: deque[tuple[Path, str, bool]] = deque([(root, "", False)])

    def listing(self) -> Listing:
        """What was found, without files that were reached through a link at another place."""
        for name in list(self.files):
            real = f"{self.real_root}/{name}"
            if real in self.targets and not self._through_link(name):
                del self.files[name]
                self._leave_out(name, LINKED)
        return Listing(self.files, self.folders, self.left_out)

    def _through_link(self, name: str) -> bool:
        path = self.real_root / name
        return os.path.realpath(path) != str(path)

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out.append(leave_out(name, reason))

    def visit(self, folder: Path, name: str, is_linked: bool) -> None:
        """Sort the entries of one folder; its own folders become pending."""
        for entry in _scan(folder):
            path, inner = folder / entry.name, f"{name}{entry.name}"
            if is_hidden(entry.name):
                self._hide(entry, inner)
            elif entry.is_symlink():
                self._follow(path, inner)
            elif entry.is_dir(follow_symlinks=False):
                self.folders.append(inner)
                self.pending.append((path, f"{inner}/", is_linked))
            elif entry.is_file(follow_symlinks=False):
                self._take(path, inner, is_linked=is_linked)
            else:
                self._leave_out(inner, SPECIAL)

    def _take(self, path: Path, name: str, *, is_linked: bool) -> None:
        if is_linked:
            path = Path(os.path.realpath(path))
            self.targets.add(str(path))
        self.files[name] = path_entry(path)

    def _follow(self, path: Path, name: str) -> None:
        """Take what a link leads to, or leave it out with the reason."""
        real = os.path.realpath(path)
        target = Path(real)
        if not target.is_relative_to(self.real_root):
            exists = target.exists()
            is_annex = "annex/objects" in target.as_posix() and not exists
            self._leave_out(name, ANNEX_LINK if is_annex else OUTSIDE_LINK)
        elif target.is_file():
            self._take(path, name, is_linked=True)
        elif target.is_dir():
            is_above = Path(os.path.realpath(path.parent)).is_relative_to(target)
            if is_above or real in self.entered:
                self._leave_out(name, CIRCULAR_LINK)
                return
            self.entered.add(real)
            self.folders.append(name)
            self.pending.append((target, f"{name}/", True))
        elif target.exists():
            self._leave_out(name, SPECIAL)
        else:
            is_annex = "annex/objects" in target.as_posix()
            self._leave_out(name, ANNEX_LINK if is_annex else BROKEN_LINK)

    def _hide(self, entry: "os.DirEntry[str]", name: str) -> None:
        """Count a hidden file, or the files of a hidden folder as far as they can be listed."""
        if not entry.is_dir(follow_symlinks=False):
            self._leave_out(name, hidden_reason(name))
            return
        names = [f"{name}/{inner}" for inner in _names_below(Path(entry.path))]
        for inner in names or [f"{name}/"]:
            self._leave_out(inner, hidden_reason(inner))


def _scan(folder: Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder by name; raises UserError if it cannot be read."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}); allow access or move it."
        ) from error

    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        refuse(error)


def _names_below(folder: Path) -> Iterator[str]:
    """The files below a hidden folder, by their paths in it, without locked folders."""
    with suppress(OSError):
        for root, _, names in os.walk(folder):
            parent = Path(root).relative_to(folder)
            yield from ((parent / name).as_posix() for name in sorted(names))


def is_image(name: str) -> bool:
    """Whether a path has an image's suffix and no part that is hidden or a system folder."""
    return has_image_suffix(name) and not is_hidden(name)


def hidden_reason(name: str) -> str:
    """Why a path is left out that has a hidden part or one of the system; '' for other paths."""
    parts = PurePosixPath(name).parts
    if any(part in SYSTEM_FOLDERS or part.lower() in SYSTEM_FILES for part in parts):
        return SYSTEM
    return HIDDEN if any(part.startswith(".") for part in parts) else ""


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden or belongs to the system."""
    return bool(hidden_reason(name))
