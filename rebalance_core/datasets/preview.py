"""A dry run of an import: what would be taken and what left out; nothing is written."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from PIL import Image

from rebalance_core.datasets.dataset import SPLITS
from rebalance_core.datasets.left_out import LeftOutFile, fold, left_out_record
from rebalance_core.datasets.manifest import UnreadableFile
from rebalance_core.datasets.opening import (
    check_classes,
    check_labels,
    open_source,
    with_label_notes,
)
from rebalance_core.datasets.source import KAGGLE, Entry, ImportConfig, Listing, Source, SourceFile
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import HEAD, is_image_content, open_image
from rebalance_core.imaging.dicom import is_dicom
from rebalance_core.imaging.nifti import is_nifti

PICTURE = 96  # px of the longer side
Upload = tuple[str, BinaryIO]  # the path of a file that a browser has uploaded, and its content


@dataclass(frozen=True)
class Preview:
    """What an import would take, as far as the first bytes of its files show."""

    counts: dict[str, dict[str, int]]  # {split: {class: number of images}}
    unreadable: list[UnreadableFile]
    left_out: list[LeftOutFile]
    notes: list[str]
    pictures: dict[str, list[bytes]]  # {class: a few images as PNG}

    @property
    def classes(self) -> list[str]:
        return sorted({label for split in self.counts.values() for label in split})

    def record(self) -> dict[str, Any]:
        """All but the pictures, as `datasets add --dry-run` prints it."""
        return {
            "classes": self.classes,
            "counts": self.counts,
            "unreadable": [file.model_dump() for file in self.unreadable],
            **left_out_record(self.left_out),
            "notes": self.notes,
        }


def preview_source(config: ImportConfig, pictures: int = 0) -> Preview:
    """What an import of `config` would take, with up to `pictures` images of each class.

    Raises UserError for what the import would refuse. Datasets of Kaggle are not downloaded.
    """
    if config.source.partition(":")[0] == KAGGLE:
        raise UserError(
            "A dry run does not download from Kaggle; download the dataset, and try its path."
        )
    with open_source(config) as source:
        return _preview(source, config.source, pictures)


def preview_upload(files: Sequence[Upload], config: ImportConfig, pictures: int = 0) -> Preview:
    """The same for files that a browser has uploaded, which stay in memory."""
    with open_upload(files, config) as source:
        return _preview(source, "The upload", pictures)


@contextmanager
def open_upload(files: Sequence[Upload], config: ImportConfig) -> Iterator[Source]:
    """The images of one zip, or of the files of a folder."""
    from rebalance_core.datasets.layout import arrange

    name, content = files[0]
    if len(files) == 1 and PurePosixPath(name).suffix.lower() == ".zip":
        from rebalance_core.datasets.archives import open_archive

        with open_archive(content, config, name) as listing:
            yield with_label_notes(arrange(listing, name, config))
        return
    entries = {path.replace("\\", "/"): _memory_entry(file) for path, file in files}
    yield with_label_notes(arrange(Listing(entries, [], []), "The upload", config))


def _memory_entry(file: BinaryIO) -> Entry:
    def read(size: int = -1) -> bytes:
        file.seek(0)
        data = file.read(size)
        file.seek(0)
        return data

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Entry(size, read, lambda: read(HEAD))


def _preview(source: Source, name: str, pictures: int) -> Preview:
    check_labels(source.files, name)
    unreadable = []
    readable: list[SourceFile] = []
    for file in source.files:
        if reason := _failure(file):
            unreadable.append(UnreadableFile(image=file.image, reason=reason))
        else:
            readable.append(file)
    pairs = [(file.label, file.split) for file in readable]
    check_classes(source, pairs, unreadable, name)
    counts = Counter(pairs)
    labels = sorted({label for label, _ in pairs})
    return Preview(
        counts={
            split: {label: counts[label, split] for label in labels}
            for split in SPLITS
            if any(other == split for _, other in pairs)
        },
        unreadable=unreadable,
        left_out=fold(source.left_out),
        notes=[*source.notes, *_note_on_volumes(readable)],
        pictures=_pictures(readable, pictures),
    )


def _note_on_volumes(files: Sequence[SourceFile]) -> list[str]:
    """A note where files may contain several images: they are counted when they are read."""
    heads = (file.head() for file in files if file.head is not None)
    if not any(is_dicom(head) or is_nifti(head) for head in heads):
        return []
    return ["A DICOM or NIfTI file counts as one here; its frames or slices become images each."]


def _failure(file: SourceFile) -> str:
    """Why an image cannot be read; '' if its first bytes are those of an image."""
    if file.head is None:
        return ""
    head = file.head()
    if is_image_content(file.image, head):
        return ""
    try:
        open_image(file.read()).close()
    except ValueError as error:
        return str(error)
    return ""


def _pictures(files: Sequence[SourceFile], count: int) -> dict[str, list[bytes]]:
    """{class: up to `count` images, reduced}, without those that cannot be decoded."""
    by_class: dict[str, list[SourceFile]] = {}
    for file in files:
        by_class.setdefault(file.label, []).append(file)
    chosen = {
        label: members[:: max(1, len(members) // max(count, 1))][:count]
        for label, members in sorted(by_class.items())
    }
    decoded = {label: [_picture(file) for file in chosen[label]] for label in chosen}
    return {label: [data for data in pictures if data] for label, pictures in decoded.items()}


def _picture(file: SourceFile) -> bytes:
    try:
        with open_image(file.read()) as image:
            image.thumbnail((PICTURE, PICTURE), Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
    except ValueError:
        return b""
    return buffer.getvalue()
