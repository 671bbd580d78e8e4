"""A CSV that names the images: columns for path, label and, optionally, split and group."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from rebalance_core.datasets.source import SPLIT_FOLDERS, SourceFile
from rebalance_core.errors import UserError

COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "label": ("label", "class"),
    "split": ("split",),
    "group": ("group", "patient", "patient_id"),
}


def table_files(path: Path) -> list[SourceFile]:
    """The images of a CSV; paths are relative to its folder and stay inside it.

    A group is a patient: no split separates it. Raises UserError naming the row.
    """
    table = _read(path)
    names = {wanted: _column(table, wanted, path) for wanted in COLUMNS}
    base = path.parent.resolve()
    files: dict[str, SourceFile] = {}
    for number, row in enumerate(table.itertuples(index=False), start=2):
        cell = dict(zip(table.columns, (str(value).strip() for value in row), strict=True))
        found = {wanted: cell[name] if name else "" for wanted, name in names.items()}
        if not found["path"] or not found["label"]:
            raise UserError(f"{path}, line {number}: path or label is empty; fill it in.")
        split = SPLIT_FOLDERS.get(found["split"].lower(), "")
        if found["split"] and not split:
            raise UserError(
                f"{path}, line {number}: split {found['split']!r} is not understood; write "
                "train, validation or test."
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
        size = target.stat().st_size if target.is_file() else 0
        files[image] = SourceFile(
            image, found["label"], split or "train", _reader(target), size, found["group"]
        )
    if not files:
        raise UserError(f"{path} names no images; it needs one line an image.")
    return [files[image] for image in sorted(files)]


def _reader(target: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return target.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error

    return read


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, sep=None, engine="python")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as error:
        raise UserError(
            f"{path} is not readable as a CSV ({error}); save it as UTF-8 with a line of headings."
        ) from error


def _column(table: pd.DataFrame, wanted: str, path: Path) -> str | None:
    known = {str(name).strip().lower(): name for name in table.columns}
    found = [known[name] for name in COLUMNS[wanted] if name in known]
    if found:
        return str(found[0])
    if wanted in ("path", "label"):
        raise UserError(
            f"{path} has no column {wanted!r}, only {', '.join(map(str, table.columns))}; rename "
            f"one to {wanted!r}."
        )
    return None
