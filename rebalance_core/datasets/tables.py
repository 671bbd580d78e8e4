"""A CSV of images, with columns for path, label and, optionally, split and group."""

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rebalance_core.datasets.folders import walk_folder
from rebalance_core.datasets.left_out import UNLISTED, LeftOutFile, leave_out
from rebalance_core.datasets.source import (
    SPLIT_FOLDERS,
    Column,
    Entry,
    ImportConfig,
    SourceFile,
    path_entry,
    split_of,
)
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import has_image_suffix

# Headings in lower case, with underscores for spaces and hyphens; the first that exists counts.
COLUMNS: dict[Column, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
        *("image_file", "image_filename", "image_name", "image_id", "image_index", "img"),
        *("img_path", "img_name", "img_id", "isic_id", "id_code", "name", "id"),
    ),
    "label": (
        *("label", "class", "labels", "class_name", "category", "dx", "level", "diagnosis"),
        *("finding_labels", "finding_label", "target", "finding", "disease", "grade", "y"),
    ),
    "split": ("split",),
    "group": (
        *("group", "patient", "patient_id", "patientid", "lesion_id", "subject", "subject_id"),
        "case_id",
    ),
}
SEPARATORS = ",;\t"
SAMPLED_LINES = 2000  # of a CSV that is not used, to find the column that names images


class ColumnsNotRecognised(UserError):
    """A CSV has no column that is known to be the path or the label; `header` are its headings."""

    def __init__(self, message: str, header: list[str]) -> None:
        super().__init__(message)
        self.header = header


@dataclass(frozen=True)
class Row:
    """A line of a CSV: its number and its cells by column, '' where there is none."""

    number: int
    cells: Mapping[Column, str]

    @property
    def path(self) -> str:
        return self.cells["path"]


def table_files(
    path: Path, columns: Mapping[Column, str] | None = None, encoding: str = ""
) -> list[SourceFile]:
    """The images of a CSV, whose paths are relative to its folder and must stay inside it.

    Paths that do not exist are searched by their longest tail among the files of that folder, with
    or without suffix. A group is a patient, which no split separates. Raises UserError with the
    number of a bad line.
    """
    base = path.parent.resolve()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    rows = list(_rows(data, str(path), columns or {}, encoding))
    targets = {row.number: _target(base, row.path) for row in rows}
    exact = {
        number: target.relative_to(base).as_posix()
        for number, target in targets.items()
        if target is not None and os.path.exists(target)  # noqa: PTH110 (any error: False)
    }
    pending = [row for row in rows if row.number not in exact]
    names = _names_below(base) if pending else []
    found = find_images(pending, names, len(exact), str(path))

    def entry(row: Row) -> tuple[str, Entry, str]:
        image = exact.get(row.number) or found.get(row.number)
        target = targets[row.number]
        if image is None and target is None and found:  # the others were moved, this is missing
            return "/".join(part for part in _parts(row.path) if part != ".."), _missing(), "train"
        if image is None and target is None:
            raise UserError(
                f"{path}, line {row.number}: {row.path!r} is outside the CSV's folder; put "
                "the CSV next to its images."
            )
        if image is None:
            assert target is not None
            image = target.relative_to(base).as_posix()
        return image, path_entry((base / image).resolve()), "train"

    return _source_files(rows, entry, str(path))


def _target(base: Path, cell: str) -> Path | None:
    """The path that a cell names; None if it is outside `base`."""
    target = (base / cell.replace("\\", "/")).resolve()
    return target if target.is_relative_to(base) else None


def _names_below(folder: Path) -> list[str]:
    """The files of a folder; none if a part of it is not readable."""
    try:
        return list(walk_folder(folder).files)
    except UserError:
        return []


def _source_files(
    rows: list[Row], entry: Callable[[Row], tuple[str, Entry, str]], name: str
) -> list[SourceFile]:
    """The images of the rows, sorted; raises UserError for a line that is not valid.

    `entry` gives the id, the file and the split where the row names none.
    """
    files: dict[str, SourceFile] = {}
    for row in rows:
        split = SPLIT_FOLDERS.get(row.cells["split"].lower(), "")
        if row.cells["split"] and not split:
            raise UserError(
                f"{name}, line {row.number}: split {row.cells['split']!r} is not valid; write "
                "train, validation or test."
            )
        image, file, default = entry(row)
        if image in files:
            raise UserError(f"{name}, line {row.number}: {image!r} is listed twice; keep one line.")
        label, group = row.cells["label"], row.cells["group"]
        files[image] = SourceFile(
            image, label, split or default, file.read, file.size, group, head=file.head
        )
    if not files:
        raise UserError(f"{name} lists no images; it needs one line per image.")
    return [files[image] for image in sorted(files)]


# Reading


def _rows(data: bytes, name: str, columns: Mapping[Column, str], encoding: str) -> Iterator[Row]:
    """The rows that are not empty; raises UserError for a line without path or label."""
    header, lines = read_table(data, name, encoding)
    indices = {column: _column_index(header, column, name, columns) for column in COLUMNS}
    for number, row in lines:
        cells = {c: row[i] if 0 <= i < len(row) else "" for c, i in indices.items()}
        if not cells["path"] or not cells["label"]:
            raise UserError(f"{name}, line {number}: path or label is empty; fill it in.")
        if "\0" in cells["path"]:
            raise UserError(
                f"{name}, line {number}: {cells['path']!r} is not a valid file name; correct it."
            )
        yield Row(number, cells)


def read_table(
    data: bytes, name: str, encoding: str = ""
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV, and the number and cells of each line that is not empty."""
    try:
        file = io.StringIO(data.decode(encoding or "utf-8-sig"), newline="")
        heading = file.readline()
        separator = max(SEPARATORS, key=heading.count)
        header = next(csv.reader([heading], delimiter=separator), [])
        reader = csv.reader(file, delimiter=separator)
        lines = [(reader.line_num + 1, [c.strip() for c in row]) for row in reader]
    except (UnicodeError, csv.Error) as error:
        raise _unreadable(name, error) from error
    return header, [(number, row) for number, row in lines if any(row)]


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(
        f"{name} is not readable as a CSV ({error}); save it as UTF-8 with a header line."
    )


def heading(text: str) -> str:
    """A heading as it is compared: `Finding Labels` is finding_labels."""
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def guess_column(header: list[str], column: Column) -> int:
    """The index of the column with this meaning, by its name or a synonym; -1 if there is none."""
    headings = [heading(text) for text in header]
    return next((headings.index(name) for name in COLUMNS[column] if name in headings), -1)


def _column_index(
    header: list[str], column: Column, name: str, chosen: Mapping[Column, str]
) -> int:
    """The index of a chosen or recognised column; -1 if an optional one is missing."""
    known = ", ".join(header) or "nothing"
    if column in chosen:
        wanted = heading(chosen[column])
        headings = [heading(text) for text in header]
        if wanted not in headings:
            raise UserError(
                f"{name} has no column {chosen[column]!r}, only {known}; choose one of these for "
                f"{column}."
            )
        return headings.index(wanted)
    index = guess_column(header, column)
    if index < 0 and column in ("path", "label"):
        raise ColumnsNotRecognised(
            f"{name} has no column {column!r}, only {known}; rename one to {column!r}, or choose "
            f"it with --column {column}=NAME.",
            header,
        )
    return index


# Finding the images that lines name


def find_images(rows: list[Row], names: Collection[str], exact: int, table: str) -> dict[int, str]:
    """{line: the file it names} by the longest matching tail of its path.

    A tail that is shorter than the path must follow a prefix that most lines have, such as the
    former folder of the data: `dog/9.png` is missing, even if there is a `cat/9.png`. `exact` is
    the number of lines whose path exists. Raises UserError if a line could name several files.
    """
    index = _FileIndex(names)
    matches: dict[int, tuple[str, tuple[str, ...]]] = {}
    for row in rows:
        parts = _parts(row.path)
        candidates, length = index.find(parts)
        if len(candidates) > 1:
            raise UserError(
                f"{table}, line {row.number}: {row.path!r} could be {candidates[0]!r} or "
                f"{candidates[1]!r}; write its folder too."
            )
        if candidates:
            matches[row.number] = candidates[0], parts[: len(parts) - length]
    prefixes: Counter[tuple[str, ...]] = Counter({(): exact})
    prefixes.update(prefix for _, prefix in matches.values())
    common = prefixes.most_common(1)[0][0]
    return {
        number: name
        for number, (name, prefix) in matches.items()
        if prefix == common or prefix[: len(common)] != common
    }


def _parts(cell: str) -> tuple[str, ...]:
    """The parts of a path as Windows or another system writes it, without drive and root."""
    parts = PurePosixPath(cell.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "//", "."))


class _FileIndex:
    """Files by their last part, with and without suffix."""

    def __init__(self, names: Collection[str]) -> None:
        self.by_name: dict[str, list[str]] = defaultdict(list)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            path = PurePosixPath(name)
            self.by_name[path.name].append(name)
            if has_image_suffix(name):
                stem = PurePosixPath(path.name.removesuffix(".gz")).stem
                self.by_stem[stem].append(name)

    def find(self, parts: tuple[str, ...]) -> tuple[list[str], int]:
        """The files with the longest common tail, and the number of its parts."""
        if not parts:
            return [], 0
        named = self.by_name.get(parts[-1], [])
        if not named and not has_image_suffix(parts[-1]):
            named = self.by_stem.get(parts[-1], [])
        lengths = {name: _common_tail(parts, PurePosixPath(name).parts) for name in named}
        longest = max(lengths.values(), default=0)
        return [name for name, length in lengths.items() if length == longest], longest


def _common_tail(wanted: tuple[str, ...], parts: tuple[str, ...]) -> int:
    """The number of last parts that agree; the very last one is known to."""
    length = 1
    while length < min(len(wanted), len(parts)) and wanted[-1 - length] == parts[-1 - length]:
        length += 1
    return length


# A CSV among the files of a folder or zip


def apply_table(
    tables: Mapping[str, Entry],
    images: Mapping[str, Entry],
    paths: Mapping[str, tuple[str, ...]],
    source: str,
    config: ImportConfig,
) -> tuple[str, list[SourceFile], list[LeftOutFile]]:
    """The CSV that labels the images of a source, its images, and those that it does not list.

    `paths` are the images' ids in parts. Raises UserError if there is no such CSV, or several.
    """
    found: dict[str, tuple[list[Row], dict[int, str]]] = {}
    reasons: list[UserError] = []
    for name, entry in tables.items():
        shown = f"{source}: {name}"
        try:
            rows = list(_rows(_content(entry, shown), shown, config.columns, config.encoding))
            lines = _find_in(PurePosixPath(name).parent, rows, images, shown)
        except UserError as error:
            reasons.append(error)
            continue
        if lines:
            found[name] = rows, lines
        else:
            reasons.append(
                UserError(
                    f"{shown} names none of the {len(images)} images; correct its paths, or use "
                    "one folder per class."
                )
            )
    if not found:
        raise next((r for r in reasons if isinstance(r, ColumnsNotRecognised)), reasons[0])
    named = {name: set(lines.values()) for name, (_, lines) in found.items()}
    table = max(named, key=lambda name: len(named[name]))
    for other, others in named.items():
        if others - named[table]:
            raise UserError(
                f"{source}: {table} and {other} label different images; join them in one CSV, or "
                "import the path of one of them."
            )
        if _labels(*found[other]).items() - _labels(*found[table]).items():
            raise UserError(
                f"{source}: {table} and {other} give the same images different labels; import the "
                "path of one of them, or remove the other."
            )
    rows, lines = found[table]

    def entry_of(row: Row) -> tuple[str, Entry, str]:
        name = lines.get(row.number)
        if name is None:
            return row.path, _missing(), "train"
        return "/".join(paths[name]), images[name], split_of(paths[name][0]) or "train"

    files = _source_files(rows, entry_of, f"{source}: {table}")
    unused = [leave_out(name, UNLISTED) for name in images if name not in named[table]]
    return table, files, unused


def _content(entry: Entry, name: str) -> bytes:
    try:
        return entry.read()
    except ValueError as error:
        raise UserError(f"{name} {error}; allow access or remove it.") from error


def _labels(rows: list[Row], lines: Mapping[int, str]) -> dict[str, str]:
    """{image: label} of the lines that name an image."""
    return {lines[r.number]: r.cells["label"] for r in rows if r.number in lines}


def _find_in(
    folder: PurePosixPath, rows: list[Row], images: Collection[str], table: str
) -> dict[int, str]:
    """{line: image}; a path that exists relative to the CSV's own folder is that file."""
    named = {row.number: str(folder.joinpath(*_parts(row.path))) for row in rows}
    exact = {number: name for number, name in named.items() if name in images}
    pending = [row for row in rows if row.number not in exact]
    return exact | find_images(pending, images, len(exact), table)


def _missing() -> Entry:
    def read() -> bytes:
        raise ValueError("cannot be read (No such file or directory)")

    return Entry(0, read)


def named_images(
    entry: Entry, images: Collection[str], config: ImportConfig, *, labelled: bool = False
) -> int:
    """How many images a CSV names in any one of its columns; 0 if it is not readable.

    With `labelled`, 0 too if it has no column that is known to be the label.
    """
    try:
        header, lines = read_table(entry.read(), "", config.encoding)
    except (UserError, ValueError):
        return 0
    if labelled and guess_column(header, "label") < 0:
        return 0
    index = _FileIndex(images)
    counts = Counter(
        column
        for _, row in lines[:SAMPLED_LINES]
        for column, cell in enumerate(row[: len(header)])
        if index.find(_parts(cell))[0]
    )
    if not counts:
        return 0
    column = counts.most_common(1)[0][0]
    cells = (row[column] for _, row in lines if len(row) > column)
    return len({name for cell in cells for name in index.find(_parts(cell))[0]})
