"""A CSV of images, with columns for path, label and, optionally, split and group."""

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
    """The images of a CSV, whose paths are relative to its folder and must stay inside it.

    A group is a patient, which no split separates. Raises UserError with the number of a bad line.
    """
    base = path.parent.resolve()
    files: dict[str, SourceFile] = {}
    for number, row in _rows(path):
        if not row["path"] or not row["label"]:
            raise UserError(f"{path}, line {number}: path or label is empty; fill it in.")
        split = SPLIT_FOLDERS.get(row["split"].lower(), "")
        if row["split"] and not split:
            raise UserError(
                f"{path}, line {number}: split {row['split']!r} is not valid; write "
                "train, validation or test."
            )
        if "\0" in row["path"]:
            raise UserError(
                f"{path}, line {number}: {row['path']!r} is not a valid file name; correct it."
            )
        target = (base / row["path"].replace("\\", "/")).resolve()
        if not target.is_relative_to(base):
            raise UserError(
                f"{path}, line {number}: {row['path']!r} is outside the CSV's folder; put "
                "the CSV next to its images."
            )
        image = target.relative_to(base).as_posix()
        if image in files:
            raise UserError(f"{path}, line {number}: {image!r} is listed twice; keep one line.")
        files[image] = SourceFile(
            image, row["label"], split or "train", file_reader(target), _size(target), row["group"]
        )
    if not files:
        raise UserError(f"{path} lists no images; it needs one line per image.")
    return [files[image] for image in sorted(files)]


def _size(path: Path) -> int:
    """Size in bytes; 0 if unknown, where reading the file gives the reason."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line number and the cells {column: text} of each row that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            separator = max(SEPARATORS, key=header.count)
            columns = next(csv.reader([header], delimiter=separator), [])
            indices = {name: _column_index(columns, name, path) for name in COLUMNS}
            reader = csv.reader(file, delimiter=separator)
            for row in reader:
                if any(cell.strip() for cell in row):
                    cells = dict(enumerate(cell.strip() for cell in row))
                    yield reader.line_num + 1, {n: cells.get(i, "") for n, i in indices.items()}
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(
            f"{path} is not readable as a CSV ({error}); save it as UTF-8 with a header line."
        ) from error


def _column_index(columns: list[str], name: str, path: Path) -> int:
    """The index of the column `name` or one of its synonyms; -1 if an optional one is missing."""
    header = [column.strip().lower() for column in columns]
    for synonym in COLUMNS[name]:
        if synonym in header:
            return header.index(synonym)
    if name in ("path", "label"):
        raise UserError(
            f"{path} has no column {name!r}, only {', '.join(columns) or 'nothing'}; rename one "
            f"to {name!r}."
        )
    return -1
