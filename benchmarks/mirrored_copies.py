"""Claim: split `clean` does not remove mirrored copies, since the duplicate measure misses them.

Counts test images of split `clean` with a near-duplicate in training or validation: unchanged
(ours, which `clean` removes) and mirrored, flipped or rotated by 180° (theirs, which it leaves).
`python benchmarks/mirrored_copies.py [DATASET]`: on a dataset of the workspace, by default on a
phantom with 20 test images that are mirrored training images.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks._report import report
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, nearest_differences
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.inspecting import thumbnail
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.decode import open_image
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace

PLANTED = 20
SYMMETRIES = {
    "as is": lambda images: images,
    "mirrored": lambda images: images[:, :, ::-1],
    "flipped": lambda images: images[:, ::-1],
    "half turn": lambda images: images[:, ::-1, ::-1],
}


def dataset_with_mirrored_copies(workspace: Workspace, folder: Path) -> Dataset:
    """A phantom whose test split contains mirrored training images."""
    phantom = import_dataset(workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun())
    planted = dict.fromkeys(phantom.classes, 0)
    for row in phantom.catalogue.to_dict("records"):
        part = "Testing" if row["split"] == "test" else "Training"
        target = folder / part / str(row["class"]) / Path(str(row["image"])).name
        target.parent.mkdir(parents=True, exist_ok=True)
        data = phantom.read_original(str(row["image"]))
        target.write_bytes(data)
        if part == "Training" and planted[row["class"]] < PLANTED // len(planted):
            planted[row["class"]] += 1
            mirrored = np.asarray(open_image(data))[:, ::-1]
            copy = folder / "Testing" / str(row["class"]) / f"mirrored-{target.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(png_bytes(np.ascontiguousarray(mirrored)))
    return import_dataset(workspace, ImportConfig(name="planted", source=str(folder)), MemoryRun())


def thumbnails(dataset: Dataset, images: tuple[str, ...]) -> np.ndarray:
    """Gray thumbnails, uint8 (n, 64, 64)."""
    return np.stack([thumbnail(open_image(dataset.read_original(image))) for image in images])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            workspace = Workspace.from_environment()
            dataset = open_dataset(workspace, sys.argv[1])
        else:
            workspace = Workspace(Path(folder) / "home")
            dataset = dataset_with_mirrored_copies(workspace, Path(folder) / "planted")
        clean = resolve_set(workspace, "clean", SetConfig(dataset=dataset.name, split="clean"))
        others = thumbnails(dataset, clean.train + clean.validation)
        tests = thumbnails(dataset, clean.test)
    near = {
        name: nearest_differences(np.ascontiguousarray(transform(tests)), others)
        <= DEFAULT_DIFFERENCE
        for name, transform in SYMMETRIES.items()
    }
    copies = np.any([mask for name, mask in near.items() if name != "as is"], axis=0)
    guards = {name: int(mask.sum()) for name, mask in near.items()}
    if not sys.argv[1:]:
        guards["planted_copies_found"] = bool(copies.sum() >= PLANTED)
    return report(
        claim=f"test images of split clean of {dataset.name} with a near-duplicate in training "
        "or validation: unchanged, and mirrored, flipped or rotated by 180°",
        ours=int(near["as is"].sum()),
        theirs=int(copies.sum()),
        unit="images",
        ratio=round(float(copies.mean()), 3),  # of all test images
        target=None,
        guards={
            **guards,
            "test": len(clean.test),
            "train": len(clean.train),
            "validation": len(clean.validation),
            "difference": DEFAULT_DIFFERENCE,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
