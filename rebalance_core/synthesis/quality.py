"""How good generated images are, beside real ones: measures on features or pixels, no network."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, near_pairs
from rebalance_core.datasets.inspecting import THUMBNAIL
from rebalance_core.images import resize_stack

NEIGHBOURS = 5  # Naeem et al. 2020, section 3.2


@dataclass(frozen=True)
class Neighbourhoods:
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage
    (Naeem et al. 2020, arXiv 2002.09797); all 0 to 1 but density, whose expectation is 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(
    real: np.ndarray, generated: np.ndarray, neighbours: int = NEIGHBOURS
) -> Neighbourhoods:
    """Features (n, d) and (m, d), more than `neighbours` of each.

    Each image's ball reaches to its `neighbours`-th nearest other image of its own kind.
    """
    across = cdist(real, generated)
    real_radius = _radius(real, neighbours)
    generated_radius = _radius(generated, neighbours)
    inside = across < real_radius[:, None]
    return Neighbourhoods(
        precision=float(inside.any(axis=0).mean()),
        recall=float((across < generated_radius[None]).any(axis=1).mean()),
        density=float(inside.sum(axis=0).mean() / neighbours),
        coverage=float(inside.any(axis=1).mean()),
    )


def _radius(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point (n, d) to its `neighbours`-th nearest other: (n,)."""
    distances = cdist(points, points)
    radius: np.ndarray = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radius


def copied(
    generated: np.ndarray, real: np.ndarray, difference: float = DEFAULT_DIFFERENCE
) -> np.ndarray:
    """Which generated images (m, H, W, C) are near-duplicates of a real one (n, H, W, C), by the
    measure of the Data page: bool (m,)."""
    both = np.concatenate([generated, real])
    gray = resize_stack(both, THUMBNAIL).mean(axis=-1).round().astype(np.uint8)
    pairs, apart = near_pairs(lambda rows: gray[rows], len(gray))
    first = len(generated)
    crossing = (pairs[:, 0] < first) & (pairs[:, 1] >= first) & (apart <= difference)
    found = np.zeros(first, bool)
    found[pairs[crossing, 0]] = True
    return found
