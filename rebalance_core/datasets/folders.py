"""A folder of images: class and split are read off the paths."""

import os
from pathlib import Path, PurePosixPath
from typing import NoReturn

from rebalance_core.datasets.source import SPLIT_FOLDERS, Entry, SourceFile, file_reader
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import IMAGE_SUFFIXES

SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")  # others' folders
LAYOUT = "<class>/*.png, or Training|Testing/<class>/*.png"


def walk_folder(folder: Path) -> tuple[dict[str, Entry], list[str]]:
    """All files below `folder` and all folders; neither links nor hidden folders are entered."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}); allow it, or move it away."
        ) from error

    files, folders = {}, []
    for root, names, found in os.walk(folder, onerror=refuse):
        here = Path(root)
        names[:] = [n for n in names if not is_hidden(n) and not (here / n).is_symlink()]
        folders += [(here / name).relative_to(folder).as_posix() for name in names]
        for name in found:
            path = here / name
            if not path.is_symlink() and path.is_file():
                relative = path.relative_to(folder).as_posix()
                files[relative] = Entry(path.stat().st_size, file_reader(path))
    return files, folders


def is_image(name: str) -> bool:
    """By its suffix, and neither hidden nor in a hidden or a system's folder."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in SYSTEM for part in PurePosixPath(name).parts)


def label_files(entries: dict[str, Entry], folders: list[str], source: Path) -> list[SourceFile]:
    """Read class and split off the paths: [wrapper/][Training|Testing/]<class>/…/file."""
    images = {name: PurePosixPath(name).parts for name in sorted(entries) if is_image(name)}
    if not images:
        raise UserError(f"{source} holds no images; put them into one folder a class.")
    first = {parts[0] for parts in images.values()}
    wrapped = len(first) == 1 and min(map(len, images.values())) > 2
    if wrapped and next(iter(first)).lower() in SPLIT_FOLDERS:
        wrapped = False
    inside = {name: parts[1:] if wrapped else parts for name, parts in images.items()}
    in_split = [len(p) > 1 and p[0].lower() in SPLIT_FOLDERS for p in inside.values()]
    deep = [len(p) > 2 for p in inside.values()]
    # `valid` beside `invalid` is a class; `train/x.png` beside `train/cat/y.png` has none.
    official = all(in_split) or any(s and d for s, d in zip(in_split, deep, strict=True))

    def below(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        split = SPLIT_FOLDERS.get(parts[0].lower(), "") if official else ""
        return split, parts[1:] if split else parts

    files = []
    for name, parts in inside.items():
        split, rest = below(parts)
        if len(rest) < 2:
            raise UserError(
                f"{source}: image {name!r} lies in no class folder; the layout is {LAYOUT}."
            )
        entry = entries[name]
        files.append(SourceFile("/".join(parts), rest[0], split or "train", entry.read, entry.size))
    classes = {file.label for file in files}
    for folder in folders:
        parts = PurePosixPath(folder).parts[1 if wrapped else 0 :]
        rest = below(parts)[1] if parts else ()
        if len(rest) == 1 and rest[0] not in classes and not is_hidden(folder):
            raise UserError(
                f"{source}: class folder {folder!r} holds no images; fill it or remove it."
            )
    return files
