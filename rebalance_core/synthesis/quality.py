"""How good generated images are, beside real ones: measures on features or pixels, no network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, near_pairs, nearest_differences
from rebalance_core.datasets.inspecting import THUMBNAIL
from rebalance_core.imaging.grid import resize_images

DEGREE = 3  # of the polynomial kernel (Bińkowski et al. 2018, arXiv 1801.01401, section 3)
NEIGHBOURS = 5  # Naeem et al. 2020, section 3.2


def frechet_distance(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """Squared Fréchet distance of two Gaussians in d dimensions: |μ - μ'|² + tr(Σ + Σ' -
    2 (Σ Σ')^½) (Dowson and Landau 1982; Heusel et al. 2017, arXiv 1706.08500)."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # Σ Σ' has the eigenvalues of the symmetric Σ^½ Σ' Σ^½, which are found without complex ones.
    shared = np.linalg.eigvalsh(root @ other_covariance @ root).clip(min=0)
    apart = float(np.square(mean - other_mean).sum())
    spread = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(shared).sum()
    return max(0.0, apart + float(spread))


def frechet_of(some: np.ndarray, others: np.ndarray) -> float:
    """The same of the Gaussians fitted to features (n, d) and (m, d), at least two of each."""
    both = np.concatenate([some, others]).astype(np.float64)
    if len(both) < both.shape[1]:
        # Turned into the few dimensions that they span, which changes no distance.
        turned, scales, _ = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
        both = turned * scales
    first, second = (
        (f.mean(axis=0), np.atleast_2d(np.cov(f, rowvar=False)))
        for f in (both[: len(some)], both[len(some) :])
    )
    return frechet_distance(*first, *second)


def principal_components(real: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """A projection (n, d) → (n, at most `count`) onto the leading principal components of `real`:
    a covariance of few numbers can be estimated from few images."""
    from sklearn.decomposition import PCA

    fitted = PCA(min(count, *real.shape), svd_solver="full").fit(real)
    project: Callable[[np.ndarray], np.ndarray] = fitted.transform
    return project


def kernel_distance(some: np.ndarray, others: np.ndarray) -> float:
    """Kernel distance (KID; Bińkowski et al. 2018, arXiv 1801.01401): the unbiased squared maximum
    mean discrepancy of features (n, d) and (m, d), at least two of each, under (x·y / d + 1)³.
    Around 0, also below it, where both are of one kind."""
    d = some.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products: np.ndarray = (a.astype(np.float64) @ b.T.astype(np.float64) / d + 1) ** DEGREE
        return products

    def within(points: np.ndarray) -> float:
        n, values = len(points), kernel(points, points)
        return float((values.sum() - np.trace(values)) / (n * (n - 1)))

    return within(some) + within(others) - 2 * float(kernel(some, others).mean())


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
    found: np.ndarray = nearest_differences(_gray(generated), _gray(real)) <= difference
    return found


def doubled(images: np.ndarray, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """Which images (n, H, W, C) are near-duplicates of another of them: bool (n,)."""
    found = np.zeros(len(images), bool)
    found[_near(images, difference).ravel()] = True
    return found


def twins(images: np.ndarray, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """Which images (n, H, W, C) are near-duplicates of one before them that is none itself, by the
    measure of the Data page: bool (n,)."""
    found = np.zeros(len(images), bool)
    while True:
        # Again until there are none: among many look-alikes, one look finds some pairs only.
        left = np.flatnonzero(~found)
        pairs = left[_near(images[left], difference)]
        for first, second in sorted(map(tuple, pairs)):
            found[second] |= not found[first]
        if not len(pairs):
            return found


def _near(images: np.ndarray, difference: float) -> np.ndarray:
    """Pairs of rows (m, 2), the lower first, that differ by at most `difference`."""
    gray = _gray(images)
    pairs, apart = near_pairs(lambda rows: gray[rows], len(gray))
    near: np.ndarray = pairs[apart <= difference]
    return near


def _gray(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, C) → thumbnails, uint8 (n, 64, 64)."""
    gray: np.ndarray = resize_images(images, THUMBNAIL).mean(axis=-1).round().astype(np.uint8)
    return gray
