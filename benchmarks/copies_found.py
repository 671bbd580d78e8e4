"""Claim: the index finds 99.9 % of the copies between test and training, under all symmetries, and
split `clean` leaves none.

Theirs: every pair of a test image and another image, by a search that shares no code with the
product's: Pearson's r of blurred 32 px images, of which the inner 28 × 28 px slide over the other
image, over eight symmetries, shifts of up to 2 px (of 32) and five scales from 0.92 to 1.08. A pair
is a copy from r = √(1 − d²), where d is the product's threshold. Ours: those of these pairs that
are near-duplicates of the product's, at the highest difference it stores.

`python benchmarks/copies_found.py [DATASET]`: on a dataset of the workspace, by default on a
phantom whose test split contains mirrored, flipped and turned training images.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks._report import Guard, report
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, equal_groups, load_near_pairs
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace

SIDE, INNER = 32, 28  # px
SCALES = (0.92, 0.96, 1.0, 1.04, 1.08)
TARGET = 0.999
PLANTED = 40
BLOCK = 64  # test images at a time


def dataset_with_copies(workspace: Workspace, folder: Path) -> Dataset:
    """A phantom with PLANTED test images that are training images under a symmetry."""
    phantom = import_dataset(workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun())
    training = phantom.catalogue[phantom.catalogue["split"] == "train"].groupby("class").head(10)
    for row in phantom.catalogue.to_dict("records"):
        part = "Testing" if row["split"] == "test" else "Training"
        target = folder / part / str(row["class"]) / Path(str(row["image"])).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(phantom.read_original(str(row["image"])))
    for number, row in enumerate(training.head(PLANTED).to_dict("records")):
        with Image.open(io.BytesIO(phantom.read_original(str(row["image"])))) as image:
            copy = image.transpose(list(Image.Transpose)[number % len(Image.Transpose)])
            copy.save(folder / "Testing" / str(row["class"]) / f"copy-{number}.png")
    return import_dataset(workspace, ImportConfig(name="planted", source=str(folder)), MemoryRun())


def blurred(dataset: Dataset, row: int, scale: float = 1.0) -> np.ndarray:
    """One image, uint8 (32, 32), scaled about its centre."""
    data = dataset.read_original(str(dataset.catalogue["image"][row]))
    with Image.open(io.BytesIO(data)) as image:
        gray = image.convert("L").resize((64, 64), Image.Resampling.LANCZOS)
    margin = 32 * (1 - 1 / scale)
    box = (margin, margin, 64 - margin, 64 - margin)
    gray = gray.transform((64, 64), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    small = gray.filter(ImageFilter.GaussianBlur(1)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def unit(images: np.ndarray) -> np.ndarray:
    """Vectors without mean, of norm 1."""
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(norm, 1.0), np.float32)


def all_correlations(dataset: Dataset, tests: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The highest r of each test image with each other image, float32 (tests, others)."""
    edge = (SIDE - INNER) // 2
    references = np.stack([blurred(dataset, row) for row in others])
    windows = [
        unit(references[:, y : y + INNER, x : x + INNER]).T
        for y in range(2 * edge + 1)
        for x in range(2 * edge + 1)
    ]
    best = np.zeros((len(tests), len(others)), np.float32)
    for start in range(0, len(tests), BLOCK):
        rows = tests[start : start + BLOCK]
        for scale in SCALES:
            images = np.stack([blurred(dataset, row, scale) for row in rows])
            inner = images[:, edge:-edge, edge:-edge]
            for turns in range(4):
                for picture in (inner, inner[:, :, ::-1]):
                    queries = unit(np.rot90(picture, turns, (1, 2)))
                    for window in windows:
                        part = best[start : start + BLOCK]
                        np.maximum(part, queries @ window, out=part)
    return best


def main() -> int:
    if sys.argv[1:]:
        workspace = Workspace.from_environment()
        return measure(workspace, open_dataset(workspace, sys.argv[1]), planted=0)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "home")
        planted = dataset_with_copies(workspace, Path(folder) / "planted")
        return measure(workspace, planted, PLANTED)


def measure(workspace: Workspace, dataset: Dataset, planted: int) -> int:
    splits = dataset.catalogue["split"].to_numpy()
    tests, others = (np.flatnonzero((splits == "test") == side) for side in (True, False))
    start = time.perf_counter()
    correlations = all_correlations(dataset, tests, others)
    seconds = time.perf_counter() - start
    clean = resolve_set(workspace, "clean", SetConfig(dataset=dataset.name, split="clean"))
    threshold = np.sqrt(1 - DEFAULT_DIFFERENCE**2)
    near = load_near_pairs(dataset)
    same = equal_groups(dataset)
    # of equal images the index compares the first alone
    of_groups = np.full((same.max() + 1,) * 2, np.inf, np.float32)
    np.minimum.at(of_groups, (same[near["first"]], same[near["second"]]), near["difference"])
    of_groups = np.minimum(of_groups, of_groups.T)
    np.fill_diagonal(of_groups, 0)
    ours = of_groups[np.ix_(same[tests], same[others])]
    copies = correlations >= threshold
    found = int((copies & (ours < np.inf)).sum())
    rows = {image: row for row, image in enumerate(dataset.catalogue["image"])}
    kept_tests = np.isin(tests, [rows[image] for image in clean.test])
    kept_others = np.isin(others, [rows[image] for image in clean.train + clean.validation])
    left = (copies & kept_tests[:, None] & kept_others).sum()
    return report(
        claim=f"pairs of a test image of {dataset.name} and a training or validation image that "
        f"are copies by an exhaustive search (r of at least {threshold:.4f}), found by the index",
        ours=found,
        theirs=int(copies.sum()),
        unit="pairs",
        ratio=round(found / max(1, int(copies.sum())), 5),
        target=TARGET,
        target_met=found >= TARGET * copies.sum(),
        guards={
            "test_images_with_copy_by_search": int(copies.any(axis=1).sum()),
            "test_images_with_copy_by_index": int((ours <= DEFAULT_DIFFERENCE).any(axis=1).sum()),
            "of_test_images": len(tests),
            "pairs_of_index_not_of_search": int(((ours <= DEFAULT_DIFFERENCE) & ~copies).sum()),
            "copies_left_in_clean": Guard(int(left), not left),
            "clean": [len(clean.train), len(clean.validation), len(clean.test)],
            "seconds_of_search": round(seconds, 1),
            "planted_copies_are_found": bool(
                (ours <= DEFAULT_DIFFERENCE).any(axis=1).sum() >= planted
            ),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
