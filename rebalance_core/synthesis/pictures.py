"""Generated images next to real ones, as arrays (Figures 3 and 4 of the study)."""

from dataclasses import dataclass

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.imaging.distances import nearest_images
from rebalance_core.imaging.grid import make_grid, resize_images
from rebalance_core.poses.pictures import SHOWN_SIZE
from rebalance_core.synthesis.quality import is_near_copy
from rebalance_core.synthesis.synthetic_set import SyntheticSet
from rebalance_core.training_sets.load import load_part


@dataclass(frozen=True)
class SampleRows:
    """Images uint8 (n, H, W, C): Figures 3 and 4 of the study, with nearest real images."""

    originals: np.ndarray
    generated: np.ndarray
    nearest: np.ndarray  # the nearest real image of each generated one
    distances: np.ndarray  # (n,), root mean square difference to it in gray levels
    copies: np.ndarray  # bool (n,), near-duplicates of a real image of the class


def sample_rows(dataset: Dataset, synthetic: SyntheticSet, label: str, count: int) -> SampleRows:
    """The first `count` images in the order of the seed, and the first training images."""
    real = _real_images(dataset, synthetic, label)
    generated = synthetic.images(label, count)
    rows, distances = nearest_images(generated, real)
    return SampleRows(
        originals=upscale(real[:count]),
        generated=upscale(generated),
        nearest=upscale(real[rows]),
        distances=distances,
        copies=is_near_copy(generated, real, dataset.symmetries),
    )


def originals(dataset: Dataset, synthetic: SyntheticSet, label: str, count: int) -> np.ndarray:
    """The first training images of a class, as the generator of a set was trained on them."""
    return upscale(_real_images(dataset, synthetic, label)[:count])


def upscale(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, C) with at least SHOWN_SIZE px per side."""
    return resize_images(images, max(SHOWN_SIZE, images.shape[1]))


def _real_images(dataset: Dataset, synthetic: SyntheticSet, label: str) -> np.ndarray:
    """Training images of a class at the size of the set: uint8 (n, H, W, C)."""
    training_set = synthetic.training_set
    part = load_part(dataset, training_set, "train", synthetic.provenance.size)
    images: np.ndarray = part.images[part.labels == training_set.class_index(label)]
    return images


def sample_grid(dataset: Dataset, synthetic: SyntheticSet, count: int) -> np.ndarray:
    """Two rows per class, uint8 (H, W, C): the first `count` generated images in the order of the
    seed, and below them the nearest training images."""
    rows = []
    for label in synthetic.counts:
        samples = sample_rows(dataset, synthetic, label, count)
        both = np.concatenate([samples.generated, samples.nearest])
        rows.append(make_grid(both, len(samples.generated)))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 12), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded)[:-12]
