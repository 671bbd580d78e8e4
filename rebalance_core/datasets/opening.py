"""Open the source of an import, and check its classes before and after its images are read."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rebalance_core.datasets.folders import LAYOUT, walk_folder
from rebalance_core.datasets.left_out import REMEDY, LeftOutFile
from rebalance_core.datasets.manifest import UnreadableFile
from rebalance_core.datasets.source import (
    BUILT_IN,
    KAGGLE,
    KAGGLE_STUDY,
    MAX_LABEL,
    TABLE_SUFFIXES,
    ImportConfig,
    Source,
    SourceFile,
    is_label,
)
from rebalance_core.errors import UserError


@contextmanager
def open_source(config: ImportConfig) -> Iterator[Source]:
    """The images of the source, sorted by id; a zip stays open within the context."""
    if config.source in BUILT_IN:
        from rebalance_core.datasets import builtin

        is_phantom = config.source == "phantom"
        yield Source(builtin.phantom_files(config) if is_phantom else builtin.digits_files())
        return
    from rebalance_core.datasets.layout import arrange

    path = resolve_path(config.source)
    if path.is_dir():
        yield with_label_notes(arrange(walk_folder(path), str(path), config))
    elif path.suffix.lower() in TABLE_SUFFIXES:
        from rebalance_core.datasets.tables import table_files

        yield with_label_notes(Source(table_files(path, config.columns, config.encoding)))
    else:
        from rebalance_core.datasets.archives import open_archive

        with open_archive(path, config) as listing:
            yield with_label_notes(arrange(listing, str(path), config))


def with_label_notes(source: Source) -> Source:
    """The source, with remarks about its class names."""
    from rebalance_core.datasets.layout import label_notes

    return Source(source.files, source.left_out, [*source.notes, *label_notes(source.files)])


def resolve_path(source: str) -> Path:
    """The path of a source, after its download from Kaggle; raises UserError if it is missing."""
    if source == KAGGLE or source.startswith(f"{KAGGLE}:"):
        from rebalance_core.datasets.kaggle import download

        return download(source.partition(":")[2] or KAGGLE_STUDY)
    path = Path(source).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path} does not exist; choose a zip, a folder, a CSV, or one of "
            f"{', '.join((*BUILT_IN, KAGGLE))}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); allow access or choose another."
        ) from error
    return path


def check_labels(files: list[SourceFile], source: str) -> None:
    """Raise UserError for labels that are not valid folder names, or names that are not UTF-8."""
    for file in files:
        if not file.image.isascii() and any("\ud800" <= c <= "\udfff" for c in file.image):
            raise UserError(f"{source}: the name {file.image!r} is not in UTF-8; rename the file.")
    folded: dict[str, str] = {}
    for label in sorted({file.label for file in files}):
        if not is_label(label):
            raise UserError(
                f"{source}: class {label[:MAX_LABEL]!r} is not a valid folder name; use up to "
                f"{MAX_LABEL} characters without slashes, control characters, "
                "`](` and a leading dot."
            )
        other = folded.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise UserError(
                f"{source}: classes {other!r} and {label!r} differ only in case or in how "
                "accents are encoded; rename one, or merge them."
            )


def check_classes(
    source: Source, readable: list[tuple[str, str]], unreadable: list[UnreadableFile], name: str
) -> None:
    """Raise UserError for a source `name` of one class, or a class without training images.

    `readable` are class and split of each image that was read.
    """
    labels = sorted({file.label for file in source.files})
    counts = Counter(label for label, _ in readable)
    if len(labels) < 2:
        raise UserError(
            f"{name} contains one class, {labels[0]!r}; at least two are needed: {LAYOUT}."
        )
    for label in labels:
        if counts[label] < 2:
            number = "no readable image" if not counts[label] else "a single readable image"
            failed = _failed(source, label, unreadable)
            reason, mend = _main_reason(failed, len(failed) + counts[label])
            raise UserError(f"{name}: class {label!r} has {number}{reason}; {mend}.")
        if (label, "train") not in readable:
            splits = sorted({split for c, split in readable if c == label})
            raise UserError(
                f"{name}: class {label!r} has images only in the {' and '.join(splits)} split; "
                "add training images, or remove it."
            )


def _failed(source: Source, label: str, unreadable: list[UnreadableFile]) -> list[LeftOutFile]:
    """The files of a class that are unreadable or left out, with their reasons."""
    images = {file.image for file in source.files if file.label == label}
    files = [LeftOutFile(file=u.image, reason=u.reason) for u in unreadable if u.image in images]
    return files + [file for file in source.left_out if file.label == label]


def _main_reason(files: list[LeftOutFile], total: int) -> tuple[str, str]:
    """The most frequent reason with its number and first file, and how to mend it."""
    remedy = "add images, at least two, or remove it"
    if not files:
        return "", remedy
    reason, count = Counter(file.reason for file in files).most_common(1)[0]
    first = next(file.file for file in files if file.reason == reason)
    return f" ({count} of {total}: {reason}, first {first})", REMEDY.get(reason, remedy)
