"""Duplicate images: byte-identical ones by SHA-256, near-duplicates by their content.

The low frequencies of a thumbnail (the DCT coefficients that a perceptual hash binarises) are its
signature. An index over the first principal components of the signatures finds candidate pairs.
The *difference* of a pair is the share of one image that a registration of the other leaves
unexplained.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.inspecting import THUMBNAIL

BLUR = 1.0  # px, against artefacts of resampling and JPEG
FREQUENCIES = 8  # of the signature, per side
RADIUS = 0.15  # of signatures: re-encoding, brightness shifts and 1-pixel crops stay below 0.13
NEIGHBOURS = 32  # candidates per image at most, so that many similar images take linear time
MAX_DIFFERENCE = 0.25  # of stored pairs
DEFAULT_DIFFERENCE = (
    0.16  # distinct phantoms differ by at least 0.17, their 1-pixel crops by at most 0.15
)
_INDEXED = 18  # principal components, whose distance is a lower bound
_BLOCK = 256  # images or pairs at a time, to bound memory

Thumbnails = Callable[[np.ndarray], np.ndarray]  # rows → uint8 (len(rows), 64, 64)


def signatures(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (n, 64, 64) → float32 (n, 63): low DCT coefficients, without the mean, of norm 1.

    Invariant to brightness and contrast; a constant image has signature 0.
    """
    from scipy.fft import dctn

    coefficients = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    low = coefficients[:, :FREQUENCIES, :FREQUENCIES].reshape(len(thumbnails), -1)[:, 1:]
    norm = np.linalg.norm(low, axis=1, keepdims=True)
    unit = np.where(norm > THUMBNAIL, low / np.maximum(norm, 1e-6), 0)
    signature: np.ndarray = unit.astype(np.float32)
    return signature


class ThumbnailRegistration:
    """Registration of thumbnails to each other.

    One step of Lucas and Kanade's image registration (IJCAI 1981): least squares on
    [1, a, ∂a/∂x, ∂a/∂y, x ∂a/∂x, y ∂a/∂y], that is brightness, contrast, shift and scaling.
    """

    def __init__(self, thumbnails: np.ndarray) -> None:
        """uint8 (n, 64, 64)."""
        blur, derivative = _filters()
        pixels = thumbnails.astype(np.float32)
        smooth, dx = (blur @ pixels @ f.T for f in (blur, derivative))
        dy = derivative @ pixels @ blur.T
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
        """√(1 − R²) of the second image regressed on the first: rows (m,), rows (m,) → float (m,).

        From 0 to 1, the share of the second's contrast that is unexplained; 1 if it is constant.
        """
        products = (self.basis[first] @ self.values[second][..., None])[..., 0].astype(np.float64)
        explained = np.einsum("mi,mij,mj->m", products, self.inverse[first], products)
        r_squared = explained / np.maximum(self.power[second], 1e-6)
        differences: np.ndarray = np.sqrt(np.clip(1 - r_squared, 0, 1))
        return differences


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """(32, 64) each: Gaussian blur, and its derivative, at every second pixel."""
    from scipy.ndimage import gaussian_filter1d

    eye = np.eye(THUMBNAIL, dtype=np.float32)
    return tuple(gaussian_filter1d(eye, BLUR, axis=0, order=order)[::2] for order in (0, 1))


def near_pairs(
    thumbnails: Thumbnails, count: int, progress: Callable[[float], None] = lambda fraction: None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (m, 2), the lower first, and their differences (m,) up to MAX_DIFFERENCE.

    Reads thumbnails in blocks: about 300 bytes of memory per image.
    """
    points = np.zeros((count, FREQUENCIES**2 - 1), np.float32)
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        points[rows] = signatures(thumbnails(rows))
    candidates = _candidates(points)
    del points
    blocks = [candidates[i : i + _BLOCK] for i in range(0, len(candidates), _BLOCK)]

    def compare(block: np.ndarray) -> np.ndarray:
        rows, indices = np.unique(block, return_inverse=True)
        first, second = indices.reshape(block.shape).T
        return ThumbnailRegistration(thumbnails(rows)).differences(first, second)

    differences = np.zeros(len(candidates), np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for number, values in enumerate(pool.map(compare, blocks)):
                differences[number * _BLOCK : number * _BLOCK + len(values)] = values
                progress(number / len(blocks))
        finally:
            pool.shutdown(cancel_futures=True)  # if `progress` raises
    is_near = differences <= MAX_DIFFERENCE
    return candidates[is_near].astype(np.int32), differences[is_near]


def nearest_differences(thumbnails: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The difference of each thumbnail to its nearest reference; infinity if none is near.

    uint8 (m, 64, 64) and (n, 64, 64) → float (m,). The candidates of a thumbnail are references
    only, so that similar thumbnails do not displace them.
    """
    nearest = np.full(len(thumbnails), np.inf)
    if not len(references):
        return nearest
    points = signatures(references)
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK]
        # cosine of unit vectors; the signature 0 of a constant image is near none
        cosine = signatures(block) @ points.T
        columns = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
        is_near = np.take_along_axis(cosine, columns, axis=1) >= 1 - RADIUS**2 / 2
        rows, ranks = np.nonzero(is_near)
        if not len(rows):
            continue
        candidates, second = np.unique(columns[rows, ranks], return_inverse=True)
        registration = ThumbnailRegistration(np.concatenate([block, references[candidates]]))
        for first in range(0, len(rows), _BLOCK):
            part = slice(first, first + _BLOCK)
            differences = registration.differences(rows[part], len(block) + second[part])
            np.minimum.at(nearest, start + rows[part], differences)
    return nearest


def _candidates(points: np.ndarray) -> np.ndarray:
    """Pairs (m, 2), the lower row first, of each image with its NEIGHBOURS nearest within RADIUS.

    In the order of the index, where similar images are close together.
    """
    from scipy.spatial import KDTree

    rows, equal = _distinct(points)
    if len(rows) < 2:
        return equal
    _, axes = np.linalg.eigh(points.T @ points)
    indexed = (points @ axes[:, ::-1][:, :_INDEXED])[rows]
    order = KDTree(indexed).indices
    rows, indexed = rows[order], indexed[order]
    tree = KDTree(indexed)
    keys = []
    for start in range(0, len(rows), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(rows)))
        _, neighbours = tree.query(
            indexed[block], 2 * NEIGHBOURS, distance_upper_bound=RADIUS, workers=-1
        )
        first, second = np.repeat(block, neighbours.shape[1]), neighbours.ravel()
        is_pair = (second < len(rows)) & (second != first)  # len(rows): no further neighbour
        first, second = first[is_pair], second[is_pair]
        distance = np.linalg.norm(points[rows[first]] - points[rows[second]], axis=1)
        order = np.lexsort((second, distance, first))
        first, second, distance = first[order], second[order], distance[order]
        rank = np.arange(len(first)) - np.searchsorted(first, first)
        is_candidate = (distance <= RADIUS) & (rank < NEIGHBOURS)
        low = np.minimum(first, second)[is_candidate]
        high = np.maximum(first, second)[is_candidate]
        keys.append(np.unique(low * len(rows) + high))
    unique = np.unique(np.concatenate(keys))
    pairs = np.stack([rows[unique // len(rows)], rows[unique % len(rows)]], axis=1)
    return np.concatenate([np.sort(pairs, axis=1), equal])


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each signature other than 0, and pairs (m, 2) of it with its repetitions.

    So that a thousand copies of one file give a thousand pairs, not a million.
    """
    _, index, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    first = index[inverse.ravel()]
    rows = np.arange(len(points))
    has_contrast = points.any(axis=1)
    is_repeated = (first != rows) & has_contrast
    pairs = np.stack([first[is_repeated], rows[is_repeated]], axis=1)
    return rows[(first == rows) & has_contrast], pairs


def group_rows(count: int, pairs: np.ndarray) -> np.ndarray:
    """Connected components of rows joined by pairs (m, 2): the group id of each row, (count,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) that join all rows of equal value; '' is not equal to itself."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_equal = (ordered[1:] == ordered[:-1]) & (ordered[1:] != "")
    return np.stack([order[:-1][is_equal], order[1:][is_equal]], axis=1)


def identical_groups(dataset: Dataset) -> np.ndarray:
    """The id of each row's group of byte-identical files, (n,)."""
    digests = dataset.catalogue["sha256"].to_numpy().astype(str)
    return group_rows(len(digests), equal_pairs(digests))


def near_groups(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> np.ndarray:
    """The id of each row's near-duplicate group, (n,).

    Groups are the connected components of the pairs that differ by at most `difference` and of the
    byte-identical files.
    """
    pairs, differences = dataset.near_duplicates
    digests = dataset.catalogue["sha256"].to_numpy().astype(str)
    is_near = differences <= difference
    return group_rows(len(digests), np.concatenate([pairs[is_near], equal_pairs(digests)]))
