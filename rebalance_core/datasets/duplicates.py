"""Copies of one picture: byte-identical ones by SHA-256, near-duplicates by what they show.

A thumbnail's low frequencies (the DCT values that a perceptual hash would cut to bits) are its
signature. An index over the signatures' first principal directions finds the pairs that may be
copies; a pair's *difference* then says how much of the one the other cannot explain.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.inspecting import THUMBNAIL

BLUR = 1.0  # px, so that resampling and JPEG's blocks don't count
FREQUENCIES = 8  # of the signature, a side
RADIUS = 0.15  # of signatures; re-encoding, a shift of brightness, 1-pixel crops stay below 0.13
NEIGHBOURS = 32  # candidates an image at most, so that a set of look-alikes stays linear
MAX_DIFFERENCE = 0.25  # pairs that differ more are forgotten
DEFAULT_DIFFERENCE = (
    0.16  # distinct phantoms differ by 0.17 and more; their 1-pixel crops by 0.15 at most
)
_INDEXED = 18  # principal directions in the index: a lower bound of the distance
_BLOCK = 256  # images or pairs at a time, so that memory does not grow with them

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


class ThumbnailRegistration:
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
    points = np.zeros((count, FREQUENCIES**2 - 1), np.float32)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        points[rows] = signatures(thumbnails(rows))
    candidates = _candidates(points)
    del points
    blocks = [candidates[i : i + _BLOCK] for i in range(0, len(candidates), _BLOCK)]

    def compare(block: np.ndarray) -> np.ndarray:
        rows, places = np.unique(block, return_inverse=True)
        first, second = places.reshape(block.shape).T
        return ThumbnailRegistration(thumbnails(rows)).differences(first, second)

    apart = np.zeros(len(candidates), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for number, compared in enumerate(pool.map(compare, blocks)):
                apart[number * _BLOCK : number * _BLOCK + len(compared)] = compared
                progress(number / len(blocks))
        finally:
            pool.shutdown(cancel_futures=True)  # where progress stops it
    kept = apart <= MAX_DIFFERENCE
    return candidates[kept].astype(np.int32), apart[kept]


def nearest_differences(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Thumbnails uint8 (m, 64, 64) and (n, 64, 64) → float (m,): the difference of each of `some`
    to the one of `others` that it is nearest to; infinity where none is near.

    Candidates are sought among `others` alone, so that look-alikes in `some` crowd none out.
    """
    least = np.full(len(some), np.inf)
    if not len(others):
        return least
    points = signatures(others)
    for start in range(0, len(some), _BLOCK):
        block = some[start : start + _BLOCK]
        # Of unit vectors; a picture of one even tone has the signature 0, which is near nothing.
        alike = signatures(block) @ points.T
        columns = np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]
        near = np.take_along_axis(alike, columns, axis=1) >= 1 - RADIUS**2 / 2
        rows, places = np.nonzero(near)
        if not len(rows):
            continue
        known, second = np.unique(columns[rows, places], return_inverse=True)
        together = ThumbnailRegistration(np.concatenate([block, others[known]]))
        for first in range(0, len(rows), _BLOCK):
            chosen = slice(first, first + _BLOCK)
            apart = together.differences(rows[chosen], len(block) + second[chosen])
            np.minimum.at(least, start + rows[chosen], apart)
    return least


def _candidates(points: np.ndarray) -> np.ndarray:
    """Pairs (m, 2), the lower row first, within RADIUS of each other: the nearest NEIGHBOURS of
    each image, in the index's order, in which look-alikes stand close together."""
    from scipy.spatial import KDTree

    rows, twins = _distinct(points)
    if len(rows) < 2:
        return twins
    _, axes = np.linalg.eigh(points.T @ points)
    indexed = (points @ axes[:, ::-1][:, :_INDEXED])[rows]
    order = KDTree(indexed).indices
    rows, indexed = rows[order], indexed[order]
    tree = KDTree(indexed)
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(rows)))
        near = tree.query(indexed[block], 2 * NEIGHBOURS, distance_upper_bound=RADIUS, workers=-1)[
            1
        ]
        one, two = np.repeat(block, near.shape[1]), near.ravel()
        there = (two < len(rows)) & (two != one)  # missing neighbours are numbered len(rows)
        one, two = one[there], two[there]
        distance = np.linalg.norm(points[rows[one]] - points[rows[two]], axis=1)
        nearest = np.lexsort((two, distance, one))
        one, two, distance = one[nearest], two[nearest], distance[nearest]
        rank = np.arange(len(one)) - np.searchsorted(one, one)
        chosen = (distance <= RADIUS) & (rank < NEIGHBOURS)
        low, high = np.minimum(one, two)[chosen], np.maximum(one, two)[chosen]
        found.append(np.unique(low * len(rows) + high))
    joined = np.unique(np.concatenate(found))
    pairs = np.stack([rows[joined // len(rows)], rows[joined % len(rows)]], axis=1)
    return np.concatenate([np.sort(pairs, axis=1), twins])


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first of each signature, without those of one even tone; pairs (m, 2) that join
    the others to it. So that a thousand copies of one file are a thousand pairs."""
    _, first, same = np.unique(points, axis=0, return_index=True, return_inverse=True)
    first_of = first[same.ravel()]
    every = np.arange(len(points))
    toned = points.any(axis=1)
    again = (first_of != every) & toned
    return every[(first_of == every) & toned], np.stack([first_of[again], every[again]], axis=1)


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


def identical_groups(dataset: Dataset) -> np.ndarray:
    """The number of each row's group of byte-identical files, (n,)."""
    digests = dataset.catalogue["sha256"].to_numpy().astype(str)
    return group_rows(len(digests), equal_pairs(digests))


def near_groups(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """The number of each row's near-duplicate group, (n,): rows joined, also over others, by
    pairs that differ by at most `difference`; byte-identical files are in one group."""
    pairs, apart = dataset.near_duplicates
    digests = dataset.catalogue["sha256"].to_numpy().astype(str)
    return group_rows(
        len(digests), np.concatenate([pairs[apart <= difference], equal_pairs(digests)])
    )
