"""PCA, K-means with restarts, elbow, silhouette, stability and matching: arrays in, arrays out."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

K_RANGE = range(1, 11)
NO_ELBOW = 3  # k where the curve has no elbow: the paper's
FITTED = 8192  # vectors that PCA is fitted on at most: a seeded sample of more
MOST_COMPONENTS = 256  # looked at where a share of the variance is to be kept
BLOCK = 1024  # vectors projected at once
LARGE = 10_000  # points from which K-means goes by mini-batches
MINI_BATCH = 4096  # points
JUDGED = 2000  # points that a silhouette is computed on at most: a seeded sample of more


class Vectors(Protocol):
    """Anything like an array (n, d) whose rows can be picked: in memory or on disk."""

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
    """Import what clustering needs, which takes a second the first time in a process."""
    for name in ("scipy.optimize", "scipy.spatial.distance", "sklearn.cluster", "sklearn.metrics"):
        import_module(name)


def sample_rows(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """`rows`, or a seeded draw of `most` of them, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng([seed, most]).choice(rows, most, replace=False))


def project(
    vectors: Vectors, fit_rows: np.ndarray, components: int, variance: float | None, seed: int
) -> tuple[np.ndarray, float]:
    """PCA fitted on `fit_rows` alone: all points float32 (n, c), and the variance share kept.

    c is `components`, or, with `variance`, the fewest that keep this share. c is 0 where all
    vectors are the same. More than FITTED rows are fitted on a seeded sample of them.
    """
    from sklearn.utils.extmath import randomized_svd

    # Picking rows copies them, so that they may be centred in place: there may be little memory
    # left beside 100,000 vectors.
    fitted = np.asarray(vectors[sample_rows(fit_rows, FITTED, seed)], dtype=np.float32)
    n, width = vectors.shape[0], fitted.shape[1]
    mean = fitted.mean(axis=0)
    fitted -= mean
    if float(np.ptp(fitted, axis=0).max()) < 1e-5:
        return np.zeros((n, 0), np.float32), 0.0
    wanted = min(MOST_COMPONENTS if variance else components, *fitted.shape)
    _, singular, axes = randomized_svd(fitted, wanted, random_state=seed)
    ratios = np.cumsum(singular.astype(float) ** 2) / np.einsum("ij,ij->", fitted, fitted)
    del fitted
    kept = min(wanted, int(np.searchsorted(ratios, variance)) + 1) if variance else wanted
    axes = np.ascontiguousarray(axes[:kept].T, dtype=np.float32)
    points = np.empty((n, kept), np.float32)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        points[rows] = (vectors[rows].reshape(-1, width) - mean) @ axes
    return points, float(ratios[kept - 1])


def restarts(points: np.ndarray, k: int, count: int, seed: int) -> list[Fit]:
    """K-means from `count` k-means++ starts, each with a seed of its own; the best comes first.

    Above LARGE points by mini-batches (Sculley 2010), else by Lloyd's algorithm.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    fits = []
    for number in range(count if k > 1 else 1):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        if len(points) > LARGE:
            model = MiniBatchKMeans(
                k, n_init=1, batch_size=MINI_BATCH, max_iter=20, random_state=own
            )
        else:
            model = KMeans(k, n_init=1, random_state=own)
        with warnings.catch_warnings():  # fewer different points than clusters: so be it
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points)
        centres = model.cluster_centers_.astype(np.float32)
        fits.append(Fit(model.labels_, centres, float(model.inertia_)))
    return sorted(fits, key=lambda fit: fit.inertia)


def elbow(inertia: np.ndarray) -> int | None:
    """The k at which a falling curve over K_RANGE bends most (Kneedle), or None."""
    from kneed import KneeLocator

    ks = list(K_RANGE)[: len(inertia)]
    if len(ks) < 3 or np.ptp(inertia) == 0:
        return None
    found = KneeLocator(ks, inertia, curve="convex", direction="decreasing").elbow
    return None if found is None else int(found)


def silhouettes(points: np.ndarray, labels: Sequence[np.ndarray], seed: int) -> list[float | None]:
    """Mean silhouette (Rousseeuw 1987), -1 to 1, of each labelling; None where it has fewer than
    two clusters or only clusters of one. On a seeded sample of at most JUDGED points."""
    from sklearn.metrics import pairwise_distances, silhouette_score

    rows = sample_rows(np.arange(len(points)), JUDGED, seed)
    distances = pairwise_distances(points[rows])
    np.fill_diagonal(distances, 0)
    found: list[float | None] = []
    for all_labels in labels:
        own = all_labels[rows]
        several = 1 < len(np.unique(own)) < len(rows)
        found.append(
            float(silhouette_score(distances, own, metric="precomputed")) if several else None
        )
    return found


def stability(fits: Sequence[Fit]) -> float | None:
    """Mean adjusted Rand index over all pairs of restarts: 1 where every start ends alike."""
    from itertools import combinations

    from sklearn.metrics import adjusted_rand_score

    pairs = [adjusted_rand_score(a.labels, b.labels) for a, b in combinations(fits, 2)]
    return float(np.mean(pairs)) if pairs else None


def nearest_centre(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For points (n, d): number of the nearest of the centres (k, d), and the distance to it."""
    from scipy.spatial.distance import cdist

    distances = cdist(points, centres)
    nearest = distances.argmin(axis=1)
    return nearest, distances[np.arange(len(points)), nearest]


def match_clusters(centres: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One numbering for the clusters (k, d) of all classes: {class: number of each cluster}.

    The class with the most clusters (the first of several) gives the numbers. Each other class
    is assigned to the running mean of those matched so far, at the least sum of squared
    distances (Hungarian algorithm); of fewer clusters than numbers, some numbers stay free.
    """
    from scipy.optimize import linear_sum_assignment

    order = sorted(centres, key=lambda c: -len(centres[c]))  # stable: first of several
    reference = centres[order[0]].astype(float)
    seen = np.ones(len(reference))
    numbers = {order[0]: np.arange(len(reference))}
    for label in order[1:]:
        own = centres[label]
        cost = ((own[:, None] - reference[None]) ** 2).sum(axis=2)
        mine, theirs = linear_sum_assignment(cost)
        numbers[label] = theirs[np.argsort(mine)]
        seen[theirs] += 1
        reference[theirs] += (own[mine] - reference[theirs]) / seen[theirs][:, None]
    return {label: numbers[label] for label in centres}
