"""A Dataset on disk: catalogue, originals, and arrays decoded once for each size."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rebalance_core.errors import UserError
from rebalance_core.files import read_json, remove_folder
from rebalance_core.images import fit_square, open_image
from rebalance_core.workspace import Workspace, list_names

SPLITS = ("train", "validation", "test")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Dataset:
    """Images with one label each; immutable once imported."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def classes(self) -> list[str]:
        return list(self.manifest["classes"])

    @property
    def channels(self) -> int:
        """1 if the images are gray, else 3."""
        return int(self.manifest["channels"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @cached_property
    def catalogue(self) -> pd.DataFrame:
        """One row an image: image (its id, the name it was imported under), class, split,
        sha256, width, height, pose ('' where unknown)."""
        text = {"image": str, "class": str, "split": str, "pose": str}
        return pd.read_csv(self.path / "catalogue.csv", dtype=text, keep_default_na=False)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Image id → row of the catalogue and of every array."""
        return {image: row for row, image in enumerate(self.catalogue["image"])}

    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: images}}, only splits that there are."""
        table = self.catalogue.groupby(["split", "class"]).size()
        return {
            split: {c: int(table.get((split, c), 0)) for c in self.classes}
            for split in SPLITS
            if split in table.index.get_level_values(0)
        }

    def original(self, image: str) -> Path:
        return self.path / "originals" / image

    def array(self, size: int, progress: Progress | None = None) -> np.ndarray:
        """All images padded to squares of `size`: read-only uint8 (n, size, size, channels)."""
        path = self.path / "arrays" / f"{size}-pad.npy"
        if not path.exists():
            self._decode(path, size, progress or (lambda fraction, stage: None))
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    def _decode(self, path: Path, size: int, progress: Progress) -> None:
        path.parent.mkdir(exist_ok=True)
        ids = list(self.catalogue["image"])
        shape = (len(ids), size, size, self.channels)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            images = np.lib.format.open_memmap(folder / "a.npy", "w+", dtype=np.uint8, shape=shape)

            def decode(row: int) -> None:
                with open_image(self.original(ids[row])) as image:
                    images[row] = fit_square(image, size, self.channels)

            # Threads suffice: Pillow decodes and resizes without the interpreter's lock.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for start in range(0, len(ids), 256):
                    list(pool.map(decode, range(start, min(start + 256, len(ids)))))
                    progress(start / len(ids), f"decoding images at {size} px")
            images.flush()
            os.replace(folder / "a.npy", path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"An original of dataset {self.name} cannot be read any more ({error}); "
                "remove the dataset and import it again."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def fingerprint(rows: list[dict[str, Any]]) -> str:
    """SHA-256 over every image's id, class, split and content; the order doesn't matter."""
    lines = sorted(f"{r['image']}\t{r['class']}\t{r['split']}\t{r['sha256']}" for r in rows)
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
    return Dataset(path, read_json(path / "manifest.json"))


def remove_dataset(workspace: Workspace, name: str) -> None:
    remove_folder(open_dataset(workspace, name).path)
