"""Metrics of generated images against real ones, on features or pixels, without networks."""

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
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    root = (eigenvectors * np.sqrt(eigenvalues.clip(min=0))) @ eigenvectors.T
    # Σ Σ' has the eigenvalues of the symmetric Σ^½ Σ' Σ^½, which are real.
    product = np.linalg.eigvalsh(root @ other_covariance @ root).clip(min=0)
    squared_mean = float(np.square(mean - other_mean).sum())
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(product).sum()
    return max(0.0, squared_mean + float(trace))


def frechet_from_features(features: np.ndarray, others: np.ndarray) -> float:
    """`frechet_distance` of the Gaussians fitted to features (n, d) and (m, d), n, m ≥ 2."""
    both = np.concatenate([features, others]).astype(np.float64)
    if len(both) < both.shape[1]:
        # Rotate into the subspace that they span, which preserves all distances.
        u, s, _ = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
        both = u * s
    first, second = (
        (f.mean(axis=0), np.atleast_2d(np.cov(f, rowvar=False)))
        for f in (both[: len(features)], both[len(features) :])
    )
    return frechet_distance(*first, *second)


def principal_components(real: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """A projection (n, d) → (n, c) onto the leading c ≤ `count` principal components of `real`.

    A covariance of few dimensions can be estimated from few images.
    """
    from sklearn.decomposition import PCA

    pca = PCA(min(count, *real.shape), svd_solver="full").fit(real)
    project: Callable[[np.ndarray], np.ndarray] = pca.transform
    return project


def kernel_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Kernel distance (KID; Bińkowski et al. 2018, arXiv 1801.01401) of features (n, d) and (m, d).

    The unbiased estimate of the squared maximum mean discrepancy under (x·y / d + 1)³, n, m ≥ 2;
    around 0, also negative, where both have the same distribution.
    """
    d = features.shape[1]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        products: np.ndarray = (x.astype(np.float64) @ y.T.astype(np.float64) / d + 1) ** DEGREE
        return products

    def mean_off_diagonal(x: np.ndarray) -> float:
        n, values = len(x), kernel(x, x)
        return float((values.sum() - np.trace(values)) / (n * (n - 1)))

    within = mean_off_diagonal(features) + mean_off_diagonal(others)
    return within - 2 * float(kernel(features, others).mean())


@dataclass(frozen=True)
class Neighbourhoods:
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage
    (Naeem et al. 2020, arXiv 2002.09797): 0 to 1 except density, whose expectation is 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(
    real: np.ndarray, generated: np.ndarray, neighbours: int = NEIGHBOURS
) -> Neighbourhoods:
    """Metrics of features real (n, d) and generated (m, d), n, m > `neighbours`.

    The radius of an image is the distance to its `neighbours`-th nearest other of the same kind.
    """
    distances = cdist(real, generated)
    in_real = distances < _radius(real, neighbours)[:, None]
    in_generated = distances < _radius(generated, neighbours)[None]
    return Neighbourhoods(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_generated.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean() / neighbours),
        coverage=float(in_real.any(axis=1).mean()),
    )


def _radius(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each point (n, d) to its `neighbours`-th nearest other: (n,)."""
    distances = cdist(points, points)
    radius: np.ndarray = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radius


def is_near_copy(
    generated: np.ndarray,
    real: np.ndarray,
    symmetries: tuple[int, ...],
    threshold: float = DEFAULT_DIFFERENCE,
) -> np.ndarray:
    """Which generated images (m, H, W, C) are near-duplicates of a real one (n, H, W, C).

    bool (m,), by the same difference as on the Data page, under the dataset's symmetries.
    """
    differences = nearest_differences(_thumbnails(generated), _thumbnails(real), symmetries)
    near: np.ndarray = differences <= threshold
    return near


def has_near_duplicate(
    images: np.ndarray, symmetries: tuple[int, ...], threshold: float = DEFAULT_DIFFERENCE
) -> np.ndarray:
    """Which images (n, H, W, C) are near-duplicates of another of them: bool (n,)."""
    is_duplicate = np.zeros(len(images), bool)
    is_duplicate[_near_pairs(images, symmetries, threshold).ravel()] = True
    return is_duplicate


def repeats_earlier(
    images: np.ndarray, symmetries: tuple[int, ...], threshold: float = DEFAULT_DIFFERENCE
) -> np.ndarray:
    """Which images (n, H, W, C) are near-duplicates of an earlier one that is not one itself.

    bool (n,), by the same difference as on the Data page.
    """
    repeats = np.zeros(len(images), bool)
    while True:
        # Repeat until no pair remains: among many similar images, one search misses some.
        remaining = np.flatnonzero(~repeats)
        pairs = remaining[_near_pairs(images[remaining], symmetries, threshold)]
        for first, second in sorted(map(tuple, pairs)):
            repeats[second] |= not repeats[first]
        if not len(pairs):
            return repeats


def _near_pairs(images: np.ndarray, symmetries: tuple[int, ...], threshold: float) -> np.ndarray:
    """Pairs of rows (m, 2), the lower first, that differ by at most `threshold`."""
    thumbnails = _thumbnails(images)
    near = near_pairs(lambda rows: thumbnails[rows], len(thumbnails), symmetries)
    near = near[near["difference"] <= threshold]
    return np.stack([near["first"], near["second"]], axis=1)


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Resize images, uint8 (n, H, W, C), to gray thumbnails, uint8 (n, 64, 64)."""
    gray: np.ndarray = resize_images(images, THUMBNAIL).mean(axis=-1).round().astype(np.uint8)
    return gray
