"""Generated images beside originals, as arrays (Figures 3 and 4 of the study)."""

from dataclasses import dataclass

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.imaging.distances import nearest_images
from rebalance_core.imaging.grid import make_grid, resize_images
from rebalance_core.poses.pictures import SHOWN_SIZE
from rebalance_core.synthesis.quality import copied
from rebalance_core.synthesis.synthetic_set import SyntheticSet
from rebalance_core.training_sets.load import load_part


@dataclass(frozen=True)
class SampleRows:
    """Figures 3 and 4 of the study, and beneath each generated image its nearest real one."""

    originals: np.ndarray
    generated: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray  # root mean square difference to the nearest, gray levels
    copies: np.ndarray  # bool: near-duplicates of an original of the class


def sample_rows(dataset: Dataset, synthetic: SyntheticSet, label: str, count: int) -> SampleRows:
    """The first `count` by seed, never picked, beside the first training images of the class."""
    real = _real(dataset, synthetic, label)
    generated = synthetic.images(label, count)
    rows, distances = nearest_images(generated, real)
    return SampleRows(
        shown(real[:count]), shown(generated), shown(real[rows]), distances, copied(generated, real)
    )


def originals(dataset: Dataset, synthetic: SyntheticSet, label: str, count: int) -> np.ndarray:
    """The first training images of a class, as the generator of a set saw them."""
    return shown(_real(dataset, synthetic, label)[:count])


def shown(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, C) at a size that can be looked at."""
    return resize_images(images, max(SHOWN_SIZE, images.shape[1]))


def _real(dataset: Dataset, synthetic: SyntheticSet, label: str) -> np.ndarray:
    chosen = synthetic.training_set
    part = load_part(dataset, chosen, "train", synthetic.provenance.size)
    found: np.ndarray = part.images[part.labels == chosen.class_index(label)]
    return found


def sample_picture(dataset: Dataset, synthetic: SyntheticSet, count: int) -> np.ndarray:
    """Two rows a class, uint8 (H, W, C): the nearest training images, above them the first `count`
    generated ones by seed, never picked."""
    rows = []
    for label in synthetic.counts:
        found = sample_rows(dataset, synthetic, label, count)
        both = np.concatenate([found.generated, found.nearest])
        rows.append(make_grid(both, len(found.generated)))
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 12), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded)[:-12]
