"""A CSV that names the images: columns for path, label and, optionally, split and group."""

import csv
from collections.abc import Iterator
from pathlib import Path

from rebalance_core.datasets.source import SPLIT_FOLDERS, SourceFile, file_reader
from rebalance_core.errors import UserError

COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class"),
    "split": ("split",),
    "group": ("group", "patient", "patient_id"),
}
SEPARATORS = ",;\t"


def table_files(path: Path) -> list[SourceFile]:
    """The images of a CSV; paths are relative to its folder and stay inside it.

    A group is a patient: no split separates it. Raises UserError naming the row.
    """
    base = path.parent.resolve()
    files: dict[str, SourceFile] = {}
    for number, found in _lines(path):
        if not found["path"] or not found["label"]:
            raise UserError(f"{path}, line {number}: path or label is empty; fill it in.")
        split = SPLIT_FOLDERS.get(found["split"].lower(), "")
        if found["split"] and not split:
            raise UserError(
                f"{path}, line {number}: split {found['split']!r} is not understood; write "
                "train, validation or test."
            )
        if "\0" in found["path"]:
            raise UserError(
                f"{path}, line {number}: {found['path']!r} cannot be a file's name; mend it."
            )
        target = (base / found["path"].replace("\\", "/")).resolve()
        if not target.is_relative_to(base):
            raise UserError(
                f"{path}, line {number}: {found['path']!r} lies outside the CSV's folder; put "
                "the CSV beside its images."
            )
        image = target.relative_to(base).as_posix()
        if image in files:
            raise UserError(f"{path}, line {number}: {image!r} is named twice; keep one line.")
        files[image] = SourceFile(
            image,
            found["label"],
            split or "train",
            file_reader(target),
            _size(target),
            found["group"],
        )
    if not files:
        raise UserError(f"{path} names no images; it needs one line an image.")
    return [files[image] for image in sorted(files)]


def _size(path: Path) -> int:
    """In bytes; 0 where that can't be told, and reading it will say why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of each line that isn't empty, and its cells by what they mean."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            headings = file.readline()
            separator = max(SEPARATORS, key=headings.count)
            columns = next(csv.reader([headings], delimiter=separator), [])
            places = {wanted: _place(columns, wanted, path) for wanted in COLUMNS}
            reader = csv.reader(file, delimiter=separator)
            for row in reader:
                if any(cell.strip() for cell in row):
                    cells = dict(enumerate(cell.strip() for cell in row))
                    yield reader.line_num + 1, {w: cells.get(p, "") for w, p in places.items()}
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(
            f"{path} is not readable as a CSV ({error}); save it as UTF-8 with a line of headings."
        ) from error


def _place(columns: list[str], wanted: str, path: Path) -> int:
    """The number of the column that means `wanted`; −1 where an optional one is missing."""
    known = [name.strip().lower() for name in columns]
    for name in COLUMNS[wanted]:
        if name in known:
            return known.index(name)
    if wanted in ("path", "label"):
        raise UserError(
            f"{path} has no column {wanted!r}, only {', '.join(columns) or 'nothing'}; rename "
            f"one to {wanted!r}."
        )
    return -1
