"""A dataset on disk: catalogue, originals, and arrays cached per size."""

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rebalance_core.datasets.catalogue import OPTIONAL
from rebalance_core.datasets.gray_levels import RELATIVE
from rebalance_core.datasets.inspecting import open_alone
from rebalance_core.datasets.manifest import Manifest, damaged, read_manifest
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import forget_files, open_image
from rebalance_core.imaging.grid import Fit, fit_square, png_bytes
from rebalance_core.imaging.picture import PLANES, Display
from rebalance_core.imaging.symmetry import allowed_symmetries
from rebalance_core.system.files import (
    DISK_FULL,
    atomic_folder,
    disk_full_message,
    remove_folder,
    remove_stale_temporaries,
    temp_path,
)
from rebalance_core.workspace import Workspace, list_names

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Dataset:
    """Images with one label each; immutable after the import."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def classes(self) -> list[str]:
        return list(self.manifest.classes)

    @property
    def channels(self) -> int:
        """1 for gray images, else 3."""
        return self.manifest.channels

    @property
    def symmetries(self) -> tuple[int, ...]:
        """Indices of SYMMETRIES under which an image is still the same picture."""
        return allowed_symmetries(self.manifest.symmetries)

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @cached_property
    def catalogue(self) -> "pd.DataFrame":
        """One row per image: image (its id, the name in the source), class, split, group and pose
        ('' if unknown), sha256, bytes, offset (in `originals`), width, height (px), mode (in the
        file), brightness (mean, 0 to 255). Where any image needs them, NA or NaN for the others:
        frame (index in a file of several images), low and high (gray values shown as 0 and 255).
        Raises UserError if the file was edited."""
        import pandas as pd

        try:
            data = (self.path / "catalogue.csv").read_bytes()
        except OSError as error:
            raise damaged(self.name, f"its catalogue cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.catalogue:
            raise damaged(self.name, "its catalogue was changed by hand")
        names = ("image", "class", "split", "group", "pose", "sha256", "mode")
        text = dict.fromkeys((*names, *OPTIONAL), str)
        # A name may contain a carriage return, which `to_csv` does not quote.
        catalogue = pd.read_csv(
            io.BytesIO(data), dtype=text, keep_default_na=False, lineterminator="\n"
        )
        try:
            for name in set(OPTIONAL) & set(catalogue):
                numbers = [float(text) if text else np.nan for text in catalogue[name]]
                catalogue[name] = pd.array(numbers, "Int64" if name == "frame" else "float64")
        except (ValueError, TypeError) as error:
            raise damaged(self.name, "its catalogue has a limit that is not a number") from error
        if sorted(set(catalogue["class"])) != self.classes:
            raise damaged(self.name, "manifest.json names other classes than its catalogue")
        return catalogue

    @cached_property
    def rows(self) -> dict[str, int]:
        """{image id: row of the catalogue and of every array}"""
        return {image: row for row, image in enumerate(self.catalogue["image"])}

    @cached_property
    def _displays(self) -> list[Display]:
        """How the image of each row becomes 8 bits."""
        ground, plane = self.manifest.ground, self.manifest.source.get("plane")
        common = Display(
            ground=ground or "black",
            plane=next((p for p in PLANES if p == plane), PLANES[0]),
            legacy=ground is None,
        )
        table = self.catalogue
        if not any(name in table for name in OPTIONAL):
            return [common] * len(table)
        count = len(table)
        frames = table["frame"].fillna(0).tolist() if "frame" in table else [0] * count
        limits = [(None, None)] * count
        if "low" in table:
            pairs = zip(table["low"].tolist(), table["high"].tolist(), strict=True)
            limits = [(low, high) if low == low else (None, None) for low, high in pairs]
        return [
            replace(common, frame=int(frame), low=low, high=high)
            for frame, (low, high) in zip(frames, limits, strict=True)
        ]

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of what each image shows: that of its file, except for frames and limits."""
        hashes: list[str] = self.catalogue["sha256"].tolist()
        if self.manifest.ground != "white" and not set(OPTIONAL) & set(self.catalogue):
            return hashes
        common = Display()
        own = []
        for digest, display in zip(hashes, self._displays, strict=True):
            if replace(display, legacy=False) != common:
                text = f"{digest} {display.frame} {display.plane} {display.limits} {display.ground}"
                digest = hashlib.sha256(text.encode()).hexdigest()
            own.append(digest)
        return own

    def open(self, image: str) -> Image.Image:
        """An image in mode L or RGB, as all of the studio shows it; raises UserError if damaged."""
        try:
            return open_image(self.read_original(image), self._displays[self.rows[image]])
        except ValueError as error:
            raise damaged(self.name, f"{image!r} cannot be read: {error}") from error

    def png(self, image: str) -> bytes:
        """An image as the studio shows it, as PNG."""
        with self.open(image) as opened:
            return png_bytes(np.asarray(opened))

    def open_other(self, data: bytes | Path) -> Image.Image:
        """A file from elsewhere in mode L or RGB, displayed like the images of this dataset.

        Raises ValueError if it cannot be read.
        """
        limits = {
            "" if entry.scale == "range" else entry.shares: (entry.low, entry.high)
            for entry in self.manifest.gray_levels
            if entry.low is not None and entry.high is not None and entry.scale not in RELATIVE
        }
        return open_alone(data, limits, self.manifest.ground or "black")

    def file_name(self, image: str) -> str:
        """The name of the file in the source that an image came from."""
        table = self.catalogue
        has_frame = "frame" in table and bool(table["frame"].notna()[self.rows[image]])
        return image.rpartition("#")[0] if has_frame else image

    @cached_property
    def used_levels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of each image, the number of distinct gray levels (1 to 256) and those from its darkest
        to its brightest pixels (0 to 255); None if an earlier version imported the dataset."""
        try:
            with np.load(self.path / "levels.npz") as file:
                levels, spread = file["levels"].astype(int), file["spread"].astype(int)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        count = len(self.catalogue)
        return (levels, spread) if levels.shape == spread.shape == (count,) else None

    @cached_property
    def _locations(self) -> list[tuple[int, int, str]]:
        columns = (self.catalogue[c].tolist() for c in ("offset", "bytes", "sha256"))
        return list(zip(*columns, strict=True))

    @cached_property
    def _counts(self) -> "pd.Series[int]":
        return self.catalogue.groupby(["split", "class"]).size()

    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: number of images}} of the splits that exist."""
        table = self._counts
        return {
            split: {c: int(table.get((split, c), 0)) for c in self.classes}
            for split in SPLITS
            if split in table.index.get_level_values(0)
        }

    def read_original(self, image: str) -> bytes:
        """The bytes of the imported file; raises UserError if they were changed since."""
        offset, size, digest = self._locations[self.rows[image]]
        try:
            with (self.path / "originals").open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise damaged(self.name, f"originals: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise damaged(self.name, f"{image!r} was changed by hand")
        return data

    def array(self, size: int, progress: Progress | None = None, fit: Fit = "pad") -> np.ndarray:
        """All images resized to squares of `size` px: read-only uint8 (n, size, size, channels)."""
        path = self.path / "arrays" / f"{size}-{fit}.npy"
        shape = (len(self.catalogue), size, size, self.channels)
        images = _read_array(path, shape)
        if images is None:
            self._decode(path, shape, fit, progress or (lambda fraction, stage: None))
            images = _read_array(path, shape)
            assert images is not None
        return images

    def _decode(
        self, path: Path, shape: tuple[int, int, int, int], fit: Fit, progress: Progress
    ) -> None:
        ids = list(self.catalogue["image"])
        folder = None
        try:
            path.parent.mkdir(exist_ok=True)
            remove_stale_temporaries(path.parent)
            folder = temp_path(path)
            folder.mkdir()
            images = np.lib.format.open_memmap(folder / "a.npy", "w+", dtype=np.uint8, shape=shape)
            _allocate(folder / "a.npy")

            def decode(row: int) -> None:
                display = self._displays[row]
                with open_image(self.read_original(ids[row]), display) as image:
                    images[row] = fit_square(image, shape[1], self.channels, fit)

            # threads suffice, since Pillow releases the GIL to decode and resize
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for start in range(0, len(ids), 256):
                    list(pool.map(decode, range(start, min(start + 256, len(ids)))))
                    progress(start / len(ids), f"decoding images at {shape[1]} px")
            images.flush()
            os.replace(folder / "a.npy", path)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise UserError(disk_full_message(self.path.parents[1])) from error
            raise damaged(self.name, f"an original cannot be read: {error}") from error
        finally:
            forget_files()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _allocate(path: Path) -> None:
    """Reserve the disk space: a write to a memory map on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The memory-mapped array; None if it is missing or incomplete."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def fingerprint(table: "pd.DataFrame") -> str:
    """SHA-256 of the id, class, split, group, pose and content of all images, in any order.

    Also of the limits of gray values, where images have any.
    """
    columns = ["image", "class", "split", "group", "pose", "sha256"]
    columns += [name for name in ("low", "high") if name in table]
    rows = zip(*(table[name] for name in columns), strict=True)
    lines = sorted("\t".join(row) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_datasets(workspace: Workspace) -> list[str]:
    return list_names(workspace.datasets)


def open_dataset(workspace: Workspace, name: str) -> Dataset:
    path = workspace.datasets / name
    if name not in list_datasets(workspace):
        known = ", ".join(list_datasets(workspace)) or "none yet"
        raise UserError(
            f"There is no dataset {name!r} (there is: {known}); add it with `datasets add`."
        )
    files = (path / "manifest.json", path / "catalogue.csv", path / "near.npz")
    return _open(path, tuple(f.stat().st_mtime_ns if f.exists() else 0 for f in files))


@lru_cache(maxsize=8)
def _open(path: Path, changed: tuple[int, ...]) -> Dataset:
    """Cached until a file changes: pages rerun often, and a catalogue may have 100,000 rows."""
    return Dataset(path, read_manifest(path))


def export_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the originals into a new folder, under their names in the source."""
    with atomic_folder(folder) as temporary:
        files = {dataset.file_name(image): image for image in dataset.catalogue["image"]}
        for name, image in files.items():
            target = temporary / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(dataset.read_original(image))
            except OSError as error:
                raise UserError(
                    f"{image!r} cannot be written to {folder} ({error.strerror}); export to "
                    "another disk."
                ) from error


def remove_dataset(workspace: Workspace, name: str) -> None:
    """Remove a dataset, even a damaged one; its training sets and runs stay."""
    if name not in list_datasets(workspace):
        open_dataset(workspace, name)  # raises UserError with the names
    remove_folder(workspace.datasets / name)
