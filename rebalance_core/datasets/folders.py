"""A folder of images, with class and split in the paths."""

import os
from pathlib import Path, PurePosixPath
from typing import NoReturn

from rebalance_core.datasets.source import SPLIT_FOLDERS, Entry, SourceFile, file_reader
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import IMAGE_SUFFIXES

SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")  # system folders
LAYOUT = "<class>/*.png, or Training|Testing/<class>/*.png"


def walk_folder(folder: Path) -> tuple[dict[str, Entry], list[str]]:
    """All files and folders below `folder`, except links and what hidden folders contain."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}); allow access or move it."
        ) from error

    files, folders = {}, []
    for root, names, file_names in os.walk(folder, onerror=refuse):
        parent = Path(root)
        names[:] = [n for n in names if not is_hidden(n) and not (parent / n).is_symlink()]
        folders += [(parent / name).relative_to(folder).as_posix() for name in names]
        for name in file_names:
            path = parent / name
            if not path.is_symlink() and path.is_file():
                relative = path.relative_to(folder).as_posix()
                files[relative] = Entry(path.stat().st_size, file_reader(path))
    return files, folders


def is_image(name: str) -> bool:
    """Whether a path has an image's suffix and no part that is hidden or a system folder."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in SYSTEM for part in PurePosixPath(name).parts)


def label_files(entries: dict[str, Entry], folders: list[str], source: Path) -> list[SourceFile]:
    """Parse split and class from paths [wrapper/][Training|Testing/]<class>/…/file."""
    images = {name: PurePosixPath(name).parts for name in sorted(entries) if is_image(name)}
    if not images:
        raise UserError(f"{source} contains no images; put them into one folder per class.")
    first = {parts[0] for parts in images.values()}
    has_wrapper = len(first) == 1 and min(map(len, images.values())) > 2
    if has_wrapper and next(iter(first)).lower() in SPLIT_FOLDERS:
        has_wrapper = False
    inner = {name: parts[1:] if has_wrapper else parts for name, parts in images.items()}
    in_split = [len(p) > 1 and p[0].lower() in SPLIT_FOLDERS for p in inner.values()]
    is_deep = [len(p) > 2 for p in inner.values()]
    # `valid` next to `invalid` is a class; `train/x.png` next to `train/cat/y.png` has no class
    has_splits = all(in_split) or any(s and d for s, d in zip(in_split, is_deep, strict=True))

    def parse(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        split = SPLIT_FOLDERS.get(parts[0].lower(), "") if has_splits else ""
        return split, parts[1:] if split else parts

    files = []
    for name, parts in inner.items():
        split, rest = parse(parts)
        if len(rest) < 2:
            raise UserError(
                f"{source}: image {name!r} is not in a class folder; the layout is {LAYOUT}."
            )
        entry = entries[name]
        files.append(SourceFile("/".join(parts), rest[0], split or "train", entry.read, entry.size))
    classes = {file.label for file in files}
    for folder in folders:
        parts = PurePosixPath(folder).parts[1 if has_wrapper else 0 :]
        rest = parse(parts)[1] if parts else ()
        if len(rest) == 1 and rest[0] not in classes and not is_hidden(folder):
            raise UserError(
                f"{source}: class folder {folder!r} contains no images; fill it or remove it."
            )
    return files
