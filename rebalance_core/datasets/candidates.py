"""Candidate pairs of near-duplicates: an index that ignores symmetry, small shifts and scalings.

The magnitudes of a thumbnail's low frequencies do not change when it is shifted, and the symmetries
of the square only exchange them. Nearest neighbours in these features, each query at three scales,
are the candidates. Symmetry and shift of a candidate are those of the highest correlation of low
frequencies; one step of registration then removes most candidates.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from rebalance_core.datasets.inspecting import THUMBNAIL
from rebalance_core.datasets.registration import SIDE, Registration, at_grid, improved
from rebalance_core.imaging.symmetry import INVERSE, SYMMETRIES

Thumbnails = Callable[[np.ndarray], np.ndarray]  # rows → uint8 (len(rows), 64, 64)
NEIGHBOURS = 64  # candidates per image and scale at most, so that similar images take linear time
RADIUS = 0.18  # of the features
ZOOMS = (1 / 1.067, 1.0, 1.067)  # of the queries
UNZOOMED = 1
SCREEN = 0.22  # maximum unexplained share after the first steps of registration
BLOCK = 64  # images at a time, to bound memory
_MAGNITUDES = 7  # frequencies per axis, of the index
_PHASES = 5  # frequencies per axis, of symmetry and shift
_INDEXED = 24  # principal components of the features, whose distance is a lower bound
SHIFTS = np.array([(y, x) for y in range(-4, 5, 2) for x in range(-4, 5, 2)])  # px
# Points of the grid, per axis, that are compared: not the border, where a shift has no image.
_POINTS = np.arange(2, SIDE - 2, 2)
_STEPS = 3  # further steps, of candidates with a residual of at most
_UNCLEAR = 0.45  # which the last step moved by more than
_MOVED = 0.3  # px
_TIE = 0.05  # of correlations: the second-best symmetry is tried too
_MIN_CONTRAST = 4.0 * THUMBNAIL  # norm of the magnitudes, below which an image is constant

PAIR = np.dtype([("first", "i4"), ("second", "i4"), ("zoom", "i1"), ("distance", "f4")])
START = np.dtype(
    [
        ("first", "i4"),
        ("second", "i4"),
        ("symmetry", "i1"),
        ("shift", "f4", 2),
        ("scale", "f4", 2),
        ("residual", "f4"),
    ]
)


def spectrum(pixels: np.ndarray) -> np.ndarray:
    """Low frequencies of windowed images (n, 64, 64): complex64 (n, 7, 13), from -6 to 6 in x."""
    left, right = _fourier()
    centred = pixels - pixels.mean(axis=(1, 2), keepdims=True)
    re, im = centred @ right.real.T, centred @ right.imag.T
    spectra = np.empty((len(pixels), len(left), len(right)), np.complex64)
    spectra.real = left.real @ re - left.imag @ im
    spectra.imag = left.real @ im + left.imag @ re
    return spectra


@cache
def _fourier() -> tuple[np.ndarray, np.ndarray]:
    window = np.sqrt(np.hanning(THUMBNAIL + 2)[1:-1])
    offsets = np.arange(THUMBNAIL) - (THUMBNAIL - 1) / 2
    frequencies = np.arange(1 - _MAGNITUDES, _MAGNITUDES)
    waves = np.exp(-2j * np.pi * np.outer(frequencies, offsets) / THUMBNAIL) * window
    waves = waves.astype(np.complex64)
    return waves[_MAGNITUDES - 1 :], waves


def magnitudes(spectra: np.ndarray) -> np.ndarray:
    """Features of norm 1 (n, 108) that no symmetry changes; 0 for a constant image."""
    absolute = np.abs(spectra)
    right, left = absolute[:, :, _MAGNITUDES - 1 :], absolute[:, :, _MAGNITUDES - 1 :: -1]
    ordered = np.stack([np.maximum(right, left), np.minimum(right, left)], axis=1)
    swapped = ordered.swapaxes(2, 3)
    y, x = (index[1:] for index in np.triu_indices(_MAGNITUDES))  # without the mean
    parts = [p[:, :, y, x] for p in (np.maximum(ordered, swapped), np.minimum(ordered, swapped))]
    features = np.concatenate(parts, axis=1).reshape(len(spectra), -1)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return np.where(norm > _MIN_CONTRAST, features / np.maximum(norm, 1e-6), 0).astype(np.float32)


@cache
def zoom_matrix(zoom: float) -> np.ndarray:
    """(64, 64): linear interpolation at points `zoom` times as far from the centre."""
    centre = (THUMBNAIL - 1) / 2
    points = ((np.arange(THUMBNAIL) - centre) * zoom + centre).clip(0, THUMBNAIL - 1)
    low = np.floor(points).astype(int).clip(0, THUMBNAIL - 2)
    matrix = np.zeros((THUMBNAIL, THUMBNAIL), np.float32)
    rows = np.arange(THUMBNAIL)
    matrix[rows, low] = low + 1 - points
    matrix[rows, low + 1] += points - low
    return matrix


def parities(spectra: np.ndarray) -> np.ndarray:
    """Even and odd parts of the lowest frequencies: (n, 4, 5, 5) → float32 (n, 100).

    Parts: even in y and x, odd in y, odd in x, odd in both.
    """
    right = spectra[:, :_PHASES, _MAGNITUDES - 1 : _MAGNITUDES - 1 + _PHASES]
    left = spectra[:, :_PHASES, _MAGNITUDES - 1 : _MAGNITUDES - 1 - _PHASES : -1]
    total, difference = right + left, right - left
    parts = np.stack([total.real, -total.imag, -difference.imag, -difference.real], axis=1)
    weights = np.ones((_PHASES, _PHASES), np.float32)
    weights[1:, 1:] = np.sqrt(2)
    weights[0, 0] = 0
    return np.asarray((parts * weights).reshape(len(spectra), -1))


@cache
def _orders_and_signs(symmetries: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Order and signs (s, 100) of `parities` of an image under the inverse of each symmetry."""
    part, y, x = np.indices((4, _PHASES, _PHASES)).reshape(3, -1)
    odd_y, odd_x = part % 2, part // 2
    orders, signs = [], []
    for index in symmetries:
        transpose, flip, mirror = SYMMETRIES[INVERSE[index]]
        swapped = ((odd_x + 2 * odd_y) * _PHASES + x) * _PHASES + y
        orders.append(swapped if transpose else np.arange(len(part)))
        signs.append((-1.0) ** (odd_y * flip + odd_x * mirror))
    return np.stack(orders), np.stack(signs).astype(np.float32)


@cache
def _moves() -> np.ndarray:
    """Phases (25, 7, 13) that move an image by each of the shifts."""
    y, x = np.arange(_MAGNITUDES)[:, None], np.arange(1 - _MAGNITUDES, _MAGNITUDES)
    angles = [2 * np.pi * (y * dy + x * dx) / THUMBNAIL for dy, dx in SHIFTS]
    return np.exp(-1j * np.array(angles)).astype(np.complex64)


@cache
def _grid_tables(symmetries: tuple[int, ...]) -> np.ndarray:
    """(s, 25, 196): which points of the grid an image has under a symmetry and a shift."""
    tables = []
    cell = THUMBNAIL // SIDE
    for index in symmetries:
        transpose, flip, mirror = SYMMETRIES[index]
        for dy, dx in SHIFTS // cell:
            y, x = ((_POINTS + d).clip(0, SIDE - 1) for d in (dy, dx))
            y, x = SIDE - 1 - y if flip else y, SIDE - 1 - x if mirror else x
            points = x * SIDE + y[:, None] if transpose else y[:, None] * SIDE + x
            tables.append(points.ravel())
    return np.array(tables, np.int32).reshape(len(symmetries), len(SHIFTS), -1)


class CandidateIndex:
    """An index of `count` rows of `thumbnails`: about 1.5 kB of memory per image.

    `rows` are those indexed, similar images close together: not those without contrast, and of
    equal thumbnails the first alone, so that a thousand copies of one file are not a million pairs.
    `repeated` are pairs (m, 2) of that first row and the other ones. `ranks` (count,) order rows by
    the digest of their thumbnail.
    """

    def __init__(self, thumbnails: Thumbnails, count: int, symmetries: tuple[int, ...]) -> None:
        from scipy.spatial import KDTree

        self._symmetries = symmetries
        self._phases = np.zeros((count, 4 * _PHASES**2), np.float16)
        self._grids = np.zeros((count, SIDE, SIDE), np.uint8)
        self._features = np.zeros((count, _MAGNITUDES * (_MAGNITUDES + 1) * 2 - 4), np.float16)
        moments = np.zeros((self._features.shape[1],) * 2)
        first_rows: dict[bytes, int] = {}
        rows, repeated = [], []
        digests = []
        for block in row_blocks(count):
            images = thumbnails(block)
            spectra = spectrum(images.astype(np.float32))
            self._features[block] = values = magnitudes(spectra)
            moments += values.T @ values
            self._phases[block] = _normalised(parities(spectra))
            self._grids[block] = at_grid(images).round()
            for row, image, has_contrast in zip(
                block, images, np.asarray(values.any(axis=1)), strict=True
            ):
                digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                digests.append(digest)
                first = first_rows.setdefault(digest, int(row))
                if has_contrast and first == row:
                    rows.append(first)
                elif has_contrast:
                    repeated.append((first, int(row)))
        self.repeated = np.array(repeated, np.int64).reshape(-1, 2)
        self.ranks = np.zeros(count, np.int64)
        self.ranks[sorted(range(count), key=digests.__getitem__)] = np.arange(count)
        self._axes = np.linalg.eigh(moments)[1][:, ::-1][:, :_INDEXED].astype(np.float32)
        self.rows = np.array(rows, np.int64)
        if rows:
            points = self._project(self._features[self.rows])
            order = KDTree(points).indices
            self.rows = self.rows[order]
            self._tree = KDTree(points[order])

    def _project(self, features: np.ndarray) -> np.ndarray:
        blocks = [features[k].astype(np.float32) @ self._axes for k in row_blocks(len(features))]
        return np.concatenate(blocks) if blocks else np.zeros((0, _INDEXED), np.float32)

    def neighbours(self, images: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """Pairs of images (n, 64, 64), counted from 0, and rows near them: PAIR records.

        One record per pair, with the zoom of the least distance. `own` are the rows of the images
        themselves (n,), which are no neighbours of theirs.
        """
        found = np.zeros(0, PAIR)
        if not len(self.rows) or not len(images):
            return found
        for number, zoom in enumerate(ZOOMS):
            features = magnitudes(spectrum(zoomed(images, zoom)))
            _, columns = self._tree.query(
                self._project(features), NEIGHBOURS + 1, distance_upper_bound=RADIUS
            )
            first, rank = np.nonzero(
                (columns < len(self.rows)) & (features != 0).any(axis=1)[:, None]
            )
            second = self.rows[columns[first, rank]]
            distance = np.linalg.norm(features[first] - self._features[second], axis=1)
            is_pair = distance <= RADIUS
            if own is not None:
                is_pair &= second != own[first]
            pairs = np.zeros(int(is_pair.sum()), PAIR)
            pairs["first"], pairs["second"] = first[is_pair], second[is_pair]
            pairs["zoom"], pairs["distance"] = number, distance[is_pair]
            found = np.concatenate([found, pairs])
        nearest: np.ndarray = found[least(found, "distance", ("first", "second"))]
        return nearest

    def screen(self, images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """START records of the pairs (of images counted from 0, sorted) that may be near.

        At the zoom of the least distance and unzoomed."""
        starts = [np.zeros(0, START)]
        for number, zoom in enumerate(ZOOMS):
            chosen = pairs if number == UNZOOMED else pairs[pairs["zoom"] == number]
            if len(chosen):
                queries, first = np.unique(chosen["first"], return_inverse=True)
                found = self._screen(zoomed(images[queries], zoom), first, chosen["second"])
                found["first"] = queries[found["first"]]
                found["scale"] /= zoom
                starts.append(found)
        found = np.concatenate(starts)
        best: np.ndarray = found[least(found, "residual", ("first", "second", "symmetry"))]
        return best

    def _screen(self, pixels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        variants = _variant_features(spectrum(pixels), self._symmetries)
        bounds = np.searchsorted(first, np.arange(len(pixels) + 1))
        phases = self._phases[second].astype(np.float32)
        scores = np.concatenate(
            [phases[a:b] @ variants[k].T for k, (a, b) in enumerate(itertools.pairwise(bounds))]
        ).reshape(len(first), len(self._symmetries), -1)
        best = scores.max(axis=2)
        limit = np.maximum(best.max(axis=1) - _TIE, np.sort(best, axis=1)[:, -2:][:, 0])
        pair, number = np.nonzero(best >= limit[:, None])
        shift = scores[pair, number].argmax(axis=1)
        points = _grid_tables(self._symmetries)[number, shift]
        grids = self._grids.reshape(len(self._grids), -1)
        values = grids[second[pair, None], points].astype(np.float32)
        registration = Registration(pixels, _POINTS)
        fit = registration.fit(first[pair], values)
        starts = np.zeros(len(pair), START)
        starts["first"], starts["second"] = first[pair], second[pair]
        starts["symmetry"] = np.array(self._symmetries)[number]
        starts["shift"], starts["scale"] = improved(
            fit.coefficients, SHIFTS[shift].astype(float), np.ones((len(pair), 2))
        )
        starts["residual"] = fit.residual
        moved = np.abs(starts["shift"] - SHIFTS[shift]).max(axis=1)
        for _ in range(_STEPS):
            unclear = (starts["residual"] > SCREEN) & (starts["residual"] <= _UNCLEAR)
            again = unclear & (moved > _MOVED)
            before = starts["shift"][again]
            starts[again] = self._improve(registration, starts[again])
            moved[again] = np.abs(starts["shift"][again] - before).max(axis=1)
        return starts[starts["residual"] <= SCREEN]

    def _improve(self, registration: Registration, starts: np.ndarray) -> np.ndarray:
        """START records after another step of registration."""
        images = self._grids[starts["second"]].astype(np.float32)
        shift, scale = starts["shift"], starts["scale"]
        values = registration.sample(images, starts["symmetry"], shift, scale)
        fit = registration.fit(starts["first"], values)
        starts["shift"], starts["scale"] = improved(fit.coefficients, shift, scale)
        starts["residual"] = fit.residual
        return starts


def zoomed(images: np.ndarray, zoom: float) -> np.ndarray:
    """Images (n, 64, 64) at points `zoom` times as far from the centre, float32."""
    matrix = zoom_matrix(zoom)
    return np.asarray(matrix @ images.astype(np.float32) @ matrix.T)


def row_blocks(count: int) -> Iterator[np.ndarray]:
    """The rows 0 to count - 1 in blocks, to bound memory."""
    for start in range(0, count, BLOCK):
        yield np.arange(start, min(start + BLOCK, count))


def least(records: np.ndarray, value: str, names: tuple[str, ...]) -> np.ndarray:
    """Of the records equal in `names` the index of that with the least value, in order: (m,)."""
    order = np.argsort(records[value], kind="stable")
    keys = [records[name][order] for name in names]
    sequence = np.lexsort(keys[::-1])  # stable: the least value first
    is_first = np.ones(len(records), bool)
    for key in keys:
        key[:] = key[sequence]
    is_first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.sort(order[sequence[is_first]])


def unordered(pairs: np.ndarray, ranks: np.ndarray, place: np.ndarray) -> np.ndarray:
    """PAIR records of rows, each pair once, sorted by the `place` (n,) of the rows.

    `first` is the row of the lower rank (n,), so that a search that starts from it does not depend
    on the order of the rows.
    """
    swapped = ranks[pairs["first"]] > ranks[pairs["second"]]
    first, second = pairs["first"].copy(), pairs["second"].copy()
    pairs["first"][swapped], pairs["second"][swapped] = second[swapped], first[swapped]
    pairs["zoom"][swapped] = len(ZOOMS) - 1 - pairs["zoom"][swapped]
    pairs = pairs[least(pairs, "distance", ("first", "second"))]
    return pairs[np.lexsort((place[pairs["second"]], place[pairs["first"]]))]


def _normalised(values: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(norm, 1e-6))


def _variant_features(spectra: np.ndarray, symmetries: tuple[int, ...]) -> np.ndarray:
    """Parities of images under every inverse symmetry and shift: (n, s * 25, 100), of norm 1."""
    moved = (spectra[:, None] * _moves()).reshape(-1, *spectra.shape[1:])
    features = _normalised(parities(moved)).reshape(len(spectra), len(SHIFTS), -1)
    orders, signs = _orders_and_signs(symmetries)
    variants = [features[:, :, order] * sign for order, sign in zip(orders, signs, strict=True)]
    return np.concatenate(variants, axis=1)
