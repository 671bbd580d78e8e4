"""PCA, K-means with restarts, elbow, silhouette, stability and matching, on arrays."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

K_RANGE = range(1, 11)
DEFAULT_K = 3  # where the curve has no elbow: the paper's k
MAX_PCA_SAMPLES = 8192  # PCA is fitted on a seeded sample where there are more
MAX_COMPONENTS = 256  # computed where a fraction of the variance is to be kept
BLOCK = 1024  # vectors projected at once
MINI_BATCH_THRESHOLD = 10_000  # points above which K-means uses mini-batches
MINI_BATCH = 4096  # points
MAX_SILHOUETTE_SAMPLES = 2000  # silhouettes use a seeded sample where there are more


class Vectors(Protocol):
    """An array-like (n, d) whose rows can be indexed, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Fit:
    """K-means of one class: labels int (n,), centres float32 (k, d), inertia."""

    labels: np.ndarray
    centres: np.ndarray
    inertia: float


def load_libraries() -> None:
    """Import what clustering needs: that takes a second, once per process."""
    for name in ("scipy.optimize", "scipy.spatial.distance", "sklearn.cluster", "sklearn.metrics"):
        import_module(name)


def sample_rows(rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """`rows`, or a seeded sample of `limit` of them, in their order."""
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng([seed, limit]).choice(rows, limit, replace=False))


def project(
    vectors: Vectors, fit_rows: np.ndarray, components: int, variance: float | None, seed: int
) -> tuple[np.ndarray, float]:
    """PCA fitted on `fit_rows` only: all points float32 (n, c), and the explained variance ratio.

    c is `components` or, with `variance`, the smallest number that explains this fraction; 0 where
    all vectors are the same. PCA is fitted on a seeded sample of at most MAX_PCA_SAMPLES rows.
    """
    from sklearn.utils.extmath import randomized_svd

    # Indexing copies the rows, so they can be centred in place: memory may be short with 100,000
    # vectors.
    sample = np.asarray(vectors[sample_rows(fit_rows, MAX_PCA_SAMPLES, seed)], dtype=np.float32)
    n, n_features = vectors.shape[0], sample.shape[1]
    mean = sample.mean(axis=0)
    sample -= mean
    if float(np.ptp(sample, axis=0).max()) < 1e-5:
        return np.zeros((n, 0), np.float32), 0.0
    rank = min(MAX_COMPONENTS if variance else components, *sample.shape)
    _, singular_values, axes = randomized_svd(sample, rank, random_state=seed)
    explained = np.cumsum(singular_values.astype(float) ** 2) / np.einsum("ij,ij->", sample, sample)
    del sample
    c = min(rank, int(np.searchsorted(explained, variance)) + 1) if variance else rank
    axes = np.ascontiguousarray(axes[:c].T, dtype=np.float32)
    points = np.empty((n, c), np.float32)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        points[rows] = (vectors[rows].reshape(-1, n_features) - mean) @ axes
    return points, float(explained[c - 1])


def fit_restarts(points: np.ndarray, k: int, count: int, seed: int) -> list[Fit]:
    """K-means from `count` k-means++ initializations, each with its own seed; lowest inertia first.

    Lloyd's algorithm, or mini-batches (Sculley 2010) above MINI_BATCH_THRESHOLD points.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    fits = []
    for number in range(count if k > 1 else 1):
        state = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        if len(points) > MINI_BATCH_THRESHOLD:
            model = MiniBatchKMeans(
                k, n_init=1, batch_size=MINI_BATCH, max_iter=20, random_state=state
            )
        else:
            model = KMeans(k, n_init=1, random_state=state)
        with warnings.catch_warnings():  # fewer distinct points than clusters are fine
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points)
        centres = model.cluster_centers_.astype(np.float32)
        fits.append(Fit(model.labels_, centres, float(model.inertia_)))
    return sorted(fits, key=lambda fit: fit.inertia)


def elbow(inertia: np.ndarray) -> int | None:
    """The k at which a decreasing curve over K_RANGE bends most (Kneedle); None without a bend."""
    from kneed import KneeLocator

    ks = list(K_RANGE)[: len(inertia)]
    if len(ks) < 3 or np.ptp(inertia) == 0:
        return None
    knee = KneeLocator(ks, inertia, curve="convex", direction="decreasing").elbow
    return None if knee is None else int(knee)


def silhouettes(points: np.ndarray, labels: Sequence[np.ndarray], seed: int) -> list[float | None]:
    """Mean silhouette (Rousseeuw 1987), -1 to 1, of each labelling int (n,) of points (n, d).

    None where a labelling has fewer than two clusters, or one cluster per point. Computed on a
    seeded sample of at most MAX_SILHOUETTE_SAMPLES points.
    """
    from sklearn.metrics import pairwise_distances, silhouette_score

    rows = sample_rows(np.arange(len(points)), MAX_SILHOUETTE_SAMPLES, seed)
    distances = pairwise_distances(points[rows])
    np.fill_diagonal(distances, 0)
    scores: list[float | None] = []
    for labelling in labels:
        sample = labelling[rows]
        is_defined = 1 < len(np.unique(sample)) < len(rows)
        scores.append(
            float(silhouette_score(distances, sample, metric="precomputed")) if is_defined else None
        )
    return scores


def stability(fits: Sequence[Fit]) -> float | None:
    """Mean adjusted Rand index over all pairs of restarts: 1 where all give the same clusters."""
    from itertools import combinations

    from sklearn.metrics import adjusted_rand_score

    pairs = [adjusted_rand_score(a.labels, b.labels) for a, b in combinations(fits, 2)]
    return float(np.mean(pairs)) if pairs else None


def nearest_centre(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For points (n, d): index of the nearest of the centres (k, d), and the distance to it."""
    from scipy.spatial.distance import cdist

    distances = cdist(points, centres)
    nearest = distances.argmin(axis=1)
    return nearest, distances[np.arange(len(points)), nearest]


def match_clusters(centres: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Number the clusters of all classes consistently: {class: number of each cluster, (k,)}.

    `centres`: {class: (k, d)}. The class with the most clusters (the first, if they tie) defines
    the numbers. Each other class is assigned to the running mean of those matched so far, with the
    least sum of squared distances (Hungarian algorithm); with fewer clusters it leaves some
    numbers unused.
    """
    from scipy.optimize import linear_sum_assignment

    order = sorted(centres, key=lambda c: -len(centres[c]))  # stable sort
    reference = centres[order[0]].astype(float)
    counts = np.ones(len(reference))
    numbers = {order[0]: np.arange(len(reference))}
    for label in order[1:]:
        cost = ((centres[label][:, None] - reference[None]) ** 2).sum(axis=2)
        rows, columns = linear_sum_assignment(cost)
        numbers[label] = columns[np.argsort(rows)]
        counts[columns] += 1
        difference = centres[label][rows] - reference[columns]
        reference[columns] += difference / counts[columns][:, None]
    return {label: numbers[label] for label in centres}
