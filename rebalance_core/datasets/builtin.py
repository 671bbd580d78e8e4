"""Built-in datasets, without a download: the MRI phantom and scikit-learn's digits."""

import numpy as np

from rebalance_core.datasets.phantom import CLASSES, POSES, make_phantom
from rebalance_core.datasets.source import ImportConfig, SourceFile
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes

FOLDERS = {"train": "Training", "test": "Testing"}
RARE_DIGITS = (7, 8, 9)
DIGITS_TRAIN, DIGITS_RARE, DIGITS_TEST = 120, 20, 45  # images per class


def phantom_files(config: ImportConfig) -> list[SourceFile]:
    """The phantom of `config`: skewed in training, balanced in test."""
    try:
        batch = make_phantom(config.count, size=config.size, seed=config.seed)
    except ValueError as error:
        raise UserError(f"The phantom cannot be generated: {error}") from error
    return [
        _file(
            f"{FOLDERS[split]}/{CLASSES[label]}/phantom_{i:06d}.png",
            CLASSES[label],
            split,
            image,
            POSES[pose],
        )
        for i, (image, label, pose, split) in enumerate(
            zip(batch.images, batch.labels, batch.poses, batch.split, strict=True)
        )
    ]


def digits_files() -> list[SourceFile]:
    """1,797 real handwritten digits of 8 × 8 px; 7, 8 and 9 are rare in training."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    files = []
    for digit in range(10):
        rows = np.flatnonzero(bunch.target == digit)
        train_count = DIGITS_RARE if digit in RARE_DIGITS else DIGITS_TRAIN
        parts = {"test": rows[:DIGITS_TEST], "train": rows[DIGITS_TEST:][:train_count]}
        for split, part_rows in parts.items():
            files += [
                _file(
                    f"{FOLDERS[split]}/{digit}/digit_{row:04d}.png", str(digit), split, images[row]
                )
                for row in part_rows
            ]
    return sorted(files, key=lambda file: file.image)


def _file(image: str, label: str, split: str, pixels: np.ndarray, pose: str = "") -> SourceFile:
    return SourceFile(image, label, split, lambda: png_bytes(pixels), pose=pose)
