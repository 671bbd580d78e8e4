"""The catalogue of a dataset while its source is read: rows, gray levels and notes."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.datasets.gray_levels import GrayLevels, choose_ground, decide_levels
from rebalance_core.datasets.inspecting import (
    NO_THUMBNAIL,
    FileInspection,
    Inspection,
    measure_batch,
)
from rebalance_core.datasets.source import SourceFile
from rebalance_core.imaging.decode import forget_files
from rebalance_core.imaging.picture import Ground
from rebalance_core.system.processes import parallel_map

if TYPE_CHECKING:
    import pandas as pd

PARALLEL_FROM = 512  # images, below which starting worker processes takes longer
BATCH = 64  # images per task of a worker process
BATCH_BYTES = 2**24
COLUMNS = (
    "image",
    "class",
    "split",
    "group",
    "pose",
    "sha256",
    "bytes",
    "offset",
    "width",
    "height",
    "mode",
    "brightness",
    "gray",
)
# Written where an image needs them: its index in a file of several, and the limits of gray values.
OPTIONAL = ("frame", "low", "high")


@dataclass
class Tally:
    """A number of things in files of the source, and the first of these files."""

    count: int = 0
    files: int = 0
    first: str = ""

    def add(self, count: int, file: str) -> None:
        if count:
            self.first = self.first or file
            self.count, self.files = self.count + count, self.files + 1

    @property
    def where(self) -> str:
        files = f"{self.files:,} files" if self.files > 1 else "one file"
        return f"{files}, {self.first!r} first" if self.files > 1 else f"{self.first!r}"


class Catalogue:
    """Rows of images that are added file by file; `folder` is that of the dataset.

    Writes `originals`, each content once, and `thumbnails` (64 × 64 bytes, in order of the rows).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *OPTIONAL)}
        self.levels: list[int] = []
        self.spreads: list[int] = []
        self.gray_levels: list[GrayLevels] = []
        self.ground: Ground = "black"
        self._special: dict[int, Inspection] = {}  # row → an image not of 8 bits, or transparent
        self._offsets: dict[str, int] = {}  # SHA-256 → start of its bytes
        self._skipped: dict[str, Tally] = {}  # kind of file → its further frames
        self._blank, self._not_finite = Tally(), Tally()
        self._originals = (folder / "originals").open("w+b")
        self._thumbnails = (folder / "thumbnails").open("w+b")

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *error: object) -> None:
        self._originals.close()
        self._thumbnails.close()
        forget_files()

    def __len__(self) -> int:
        return len(self.columns["image"])

    def add(self, file: SourceFile, data: bytes, inspection: FileInspection) -> None:
        """Add all images of a readable file."""
        digest = inspection.images[0].columns["sha256"]
        if digest not in self._offsets:
            self._offsets[digest] = self._originals.tell()
            self._originals.write(data)
        is_volume = inspection.images[0].columns["mode"] == "NIfTI"
        is_several = len(inspection.images) > 1 or is_volume
        group = file.group or inspection.group or (file.image if is_several else "")
        for image in inspection.images:
            row = {
                **dict.fromkeys(OPTIONAL),
                **image.columns,
                "image": file.image + image.suffix,
                "class": file.label,
                "split": file.split,
                "group": group,
                "pose": file.pose,
                "offset": self._offsets[digest],
            }
            if image.suffix:
                row["frame"] = image.display.frame
            if image.scale or image.ink:
                special = image
                if image.scale == "series" and not image.shares:
                    special = replace(image, shares=file.image)
                self._special[len(self)] = replace(special, thumbnail=NO_THUMBNAIL)
            self._append(row, image)
        self._count(file.image, inspection)

    def _append(self, row: dict[str, Any], image: Inspection) -> None:
        for name, column in self.columns.items():
            column.append(row.get(name))
        self.levels.append(image.levels)
        self.spreads.append(image.spread)
        self._thumbnails.write(image.thumbnail)

    def _count(self, name: str, inspection: FileInspection) -> None:
        kind = "volumes" if inspection.images[0].columns["mode"] == "NIfTI" else "frames"
        self._skipped.setdefault(kind, Tally()).add(inspection.skipped, name)
        self._blank.add(inspection.blank, name)
        self._not_finite.add(sum(image.not_finite for image in inspection.images), name)

    def finish(self, progress: Callable[[float], None]) -> None:
        """Decide what depends on all images, and measure again those it concerns.

        `progress` is called with the share that is done.
        """
        decided, self.gray_levels = decide_levels(list(self._special.values()))
        self.ground = choose_ground(decided)
        rows = []
        for (row, before), image in zip(self._special.items(), decided, strict=True):
            if self.ground == "white":
                image = replace(image, display=replace(image.display, ground="white"))
            limits = image.display.limits
            self.columns["low"][row], self.columns["high"][row] = limits or (None, None)
            self._special[row] = image
            if before.statistics is not None or (self.ground == "white" and image.ink):
                rows.append(row)
        self._originals.flush()
        self._thumbnails.flush()
        for number, (row, image) in enumerate(self._measure(rows), start=1):
            for name, value in image.columns.items():
                self.columns[name][row] = value
            self.levels[row], self.spreads[row] = image.levels, image.spread
            os.pwrite(self._thumbnails.fileno(), image.thumbnail, row * len(NO_THUMBNAIL))
            progress(number / len(rows))

    def _measure(self, rows: list[int]) -> Iterator[tuple[int, Inspection]]:
        """Measure images of rows again, with their displays; in parallel if many."""
        batches = self._batches(rows)
        if len(rows) < PARALLEL_FROM:
            results: Iterable[tuple[list[tuple[bytes, Inspection]], list[Inspection]]]
            results = ((batch, measure_batch(batch)) for batch in batches)
        else:
            results = parallel_map(measure_batch, batches)
        images = (image for _, measured in results for image in measured)
        return zip(rows, images, strict=True)

    def _batches(self, rows: list[int]) -> Iterator[list[tuple[bytes, Inspection]]]:
        batch: list[tuple[bytes, Inspection]] = []
        size, before, data = 0, -1, b""
        for row in rows:
            offset, length = self.columns["offset"][row], self.columns["bytes"][row]
            if offset != before:  # the frames of a file follow each other
                data, before = os.pread(self._originals.fileno(), length, offset), offset
                size += length
            batch.append((data, self._special[row]))
            if len(batch) == BATCH or size > BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def table(self) -> "pd.DataFrame":
        """The catalogue; optional columns only where an image needs them."""
        import pandas as pd

        unused = [n for n in OPTIONAL if all(value is None for value in self.columns[n])]
        table = pd.DataFrame({n: c for n, c in self.columns.items() if n not in unused})
        for name in set(OPTIONAL) - set(unused):
            values = self.columns[name]
            table[name] = ["" if value is None else str(value) for value in values]
        return table

    def save_levels(self) -> None:
        """Write `levels.npz`: the gray levels of each image, which Health looks at."""
        levels, spreads = np.array(self.levels, np.uint16), np.array(self.spreads, np.uint8)
        np.savez(self.folder / "levels.npz", levels=levels, spread=spreads)

    def notes(self) -> list[str]:
        """Sentences on what was changed or left out while images were decoded."""
        notes = []
        frames, volumes = (self._skipped.get(kind, Tally()) for kind in ("frames", "volumes"))
        if frames.count:
            notes.append(
                f"{frames.count:,} further frames or pages were not imported ({frames.where}): "
                "only the first of a GIF, TIFF, WebP or PNG is read."
            )
        if volumes.count:
            notes.append(
                f"{volumes.count:,} further volumes were not imported ({volumes.where}): only the "
                "first of a NIfTI file is read."
            )
        if self._blank.count:
            notes.append(f"{self._blank.count:,} empty slices were left out ({self._blank.where}).")
        if self._not_finite.count:
            notes.append(
                f"{self._not_finite.count:,} pixels are NaN or infinite "
                f"({self._not_finite.where}); NaN is shown as black."
            )
        transparent = sum(bool(image.ink) for image in self._special.values())
        if self.ground == "white":
            notes.append(
                f"The transparent ground of {transparent:,} images was filled with white, since "
                "their ink is dark."
            )
        return notes
