"""Copies of one picture: byte-identical ones by SHA-256, near-duplicates by what they show.

A thumbnail's low frequencies (the DCT values that a perceptual hash would cut to bits) are its
signature. An index over the signatures' first principal components finds the pairs that may be
copies; a pair's *difference* then says how much of the one the other cannot explain.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from rebalance_core.datasets.inspecting import THUMBNAIL

BLUR = 1.0  # px, so that resampling and JPEG's blocks don't count
FREQUENCIES = 8  # of the signature, a side
RADIUS = 0.15  # of signatures; re-encoding, a shift of brightness, 1-pixel crops stay below 0.13
NEIGHBOURS = 32  # candidates an image at most, so that a set of look-alikes stays linear
MAX_DIFFERENCE = 0.25  # pairs that differ more are forgotten
DEFAULT_DIFFERENCE = (
    0.16  # distinct phantoms differ by 0.17 and more; their 1-pixel crops by 0.15 at most
)
_INDEXED = 12  # principal components in the index: a lower bound of the distance
_BLOCK = 1024  # images or pairs at a time

Thumbnails = Callable[[np.ndarray], np.ndarray]  # rows → uint8 (len(rows), 64, 64)


def signatures(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (n, 64, 64) → float32 (n, 63): low DCT values, without the mean, of norm 1.

    Whatever brightness and contrast; a picture of one even tone has the signature 0.
    """
    from scipy.fft import dctn

    waves = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    low = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(thumbnails), -1)[:, 1:]
    norm = np.linalg.norm(low, axis=1, keepdims=True)
    unit = np.where(norm > THUMBNAIL, low / np.maximum(norm, 1e-6), 0)
    signature: np.ndarray = unit.astype(np.float32)
    return signature


class Registered:
    """Thumbnails prepared so that one can be fitted to another.

    The fit is one step of Lucas and Kanade's image registration (IJCAI 1981): least squares on
    [1, a, ∂a/∂x, ∂a/∂y, x ∂a/∂x, y ∂a/∂y], that is brightness, contrast, shift and scaling.
    """

    def __init__(self, thumbnails: np.ndarray) -> None:
        """uint8 (n, 64, 64)."""
        blur, slope = _filters()
        across = thumbnails.astype(np.float32)
        smooth, dx = (blur @ across @ f.T for f in (blur, slope))
        dy = slope @ across @ blur.T
        smooth -= smooth.mean(axis=(1, 2), keepdims=True)
        y, x = np.mgrid[-1 : 1 : len(blur) * 1j, -1 : 1 : len(blur) * 1j].astype(np.float32)
        terms = [np.ones_like(smooth), smooth, dx, dy, x * dx, y * dy]
        self.values = smooth.reshape(len(smooth), -1)
        self.basis = np.stack(terms, axis=1).reshape(len(smooth), len(terms), -1)
        gram = (self.basis @ self.basis.transpose(0, 2, 1)).astype(np.float64)
        ridge = 1e-6 * np.trace(gram, axis1=1, axis2=2) + 1e-6
        self.inverse = np.linalg.inv(gram + np.eye(len(terms)) * ridge[:, None, None])
        self.power = (self.values.astype(np.float64) ** 2).sum(axis=1)

    def differences(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Rows (m,) and rows (m,) → float (m,), 0 to 1: √(1 − R²), the share of the second's
        contrast that the first leaves unexplained; 1 for a second of one even tone."""
        fitted = (self.basis[first] @ self.values[second][..., None])[..., 0].astype(np.float64)
        explained = np.einsum("mi,mij,mj->m", fitted, self.inverse[first], fitted)
        share = explained / np.maximum(self.power[second], 1e-6)
        apart: np.ndarray = np.sqrt(np.clip(1 - share, 0, 1))
        return apart


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """(32, 64) each: blur and take every second pixel; the same of the slope."""
    from scipy.ndimage import gaussian_filter1d

    eye = np.eye(THUMBNAIL, dtype=np.float32)
    return tuple(gaussian_filter1d(eye, BLUR, axis=0, order=order)[::2] for order in (0, 1))


def near_pairs(
    thumbnails: Thumbnails, count: int, progress: Callable[[float], None] = lambda fraction: None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (m, 2), the lower first, and their differences (m,) up to MAX_DIFFERENCE.

    Reads thumbnails in blocks: the memory taken grows by some 300 bytes an image.
    """
    found = [
        signatures(thumbnails(np.arange(start, min(start + _BLOCK, count))))
        for start in range(0, count, _BLOCK)
    ]
    points = np.concatenate(found) if found else np.zeros((0, FREQUENCIES**2 - 1), np.float32)
    candidates = _candidates(points)
    apart = np.zeros(len(candidates), np.float32)
    for start in range(0, len(candidates), _BLOCK):
        block = candidates[start : start + _BLOCK]
        rows, places = np.unique(block, return_inverse=True)
        first, second = places.reshape(block.shape).T
        apart[start : start + _BLOCK] = Registered(thumbnails(rows)).differences(first, second)
        progress(start / len(candidates))
    kept = apart <= MAX_DIFFERENCE
    return candidates[kept].astype(np.int32), apart[kept]


def _candidates(points: np.ndarray) -> np.ndarray:
    """Pairs (m, 2), the lower row first, within RADIUS of each other: the nearest NEIGHBOURS of
    each image, in the index's order, in which look-alikes stand close together."""
    from scipy.spatial import KDTree

    rows = np.flatnonzero(points.any(axis=1))
    if len(rows) < 2:
        return np.zeros((0, 2), np.int64)
    points = points[rows]
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    indexed = centred @ axes[:, ::-1][:, :_INDEXED]
    order = KDTree(indexed).indices
    rows, points, indexed = rows[order], points[order], indexed[order]
    tree = KDTree(indexed)
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(rows)))
        near = tree.query_ball_point(indexed[block], RADIUS, workers=-1, return_sorted=False)
        one = np.repeat(block, [len(n) for n in near])
        two = np.concatenate([np.asarray(n, dtype=np.int64) for n in near])
        one, two = one[two != one], two[two != one]
        distance = np.linalg.norm(points[one] - points[two], axis=1)
        nearest = np.lexsort((two, distance, one))
        one, two, distance = one[nearest], two[nearest], distance[nearest]
        rank = np.arange(len(one)) - np.searchsorted(one, one)
        chosen = (distance <= RADIUS) & (rank < NEIGHBOURS)
        low, high = np.minimum(one, two)[chosen], np.maximum(one, two)[chosen]
        found.append(np.unique(low * len(rows) + high))
    joined = np.unique(np.concatenate(found))
    pairs = np.stack([rows[joined // len(rows)], rows[joined % len(rows)]], axis=1)
    return np.sort(pairs, axis=1)


def group_rows(count: int, pairs: np.ndarray) -> np.ndarray:
    """Rows 0 … count − 1 joined by pairs (m, 2) → the number of each row's group, (count,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(joined, directed=False)[1])


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) that join all rows of the same value; '' equals nothing."""
    order = np.argsort(values, kind="stable")
    same = (values[order][1:] == values[order][:-1]) & (values[order][1:] != "")
    return np.stack([order[:-1][same], order[1:][same]], axis=1)
