"""Whether two images are the same picture: the *difference* that remains after registration.

The difference of two images is the least √(1 − r²), where r is Pearson's correlation of their
blurred thumbnails, over the dataset's symmetries, shifts of up to 5 of 64 pixels and scalings
within 13 % per axis. The correlation ignores brightness and contrast.
"""

import itertools
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from rebalance_core.datasets.inspecting import THUMBNAIL
from rebalance_core.imaging.symmetry import INVERSE, SYMMETRIES

BLUR = 1.0  # px, against artefacts of resampling and JPEG
MAX_SHIFT = 5.0  # px
SCALES = (0.87, 1.15)
STEPS = 4  # of Gauss and Newton's method
SIDE = 32  # points of the grid per side, each the mean of 2 × 2 pixels
_CENTRE = (THUMBNAIL - 1) / 2
_FLAGS = np.array(SYMMETRIES)
_MIN_GAIN = 0.1  # of contrast, below which a step is not trusted
_DONE, _HOPELESS = 0.01, 0.45  # differences that no further step changes enough
_TIE = 1e-3  # relative difference of sharpness, within which rounding may decide


class Registration:
    """Registers thumbnails to each other, uint8 or float (n, 64, 64).

    Lucas and Kanade's method (IJCAI 1981): the registered image is regressed on [1, a, ∂a/∂x,
    ∂a/∂y, x ∂a/∂x, y ∂a/∂y] of the template a, that is brightness, contrast, shift and scaling.
    """

    def __init__(self, thumbnails: np.ndarray, points: np.ndarray | None = None) -> None:
        """`points`: those of the grid, per axis, that are compared; all by default."""
        points = np.arange(SIDE) if points is None else points
        pixels = thumbnails.astype(np.float32)
        smooth, derivative = (_to_grid()[points] @ kernel for kernel in _filters())
        self.blurred = blur(pixels)
        self.template = smooth @ pixels @ smooth.T
        dx, dy = smooth @ pixels @ derivative.T, derivative @ pixels @ smooth.T
        self._offsets = _grid_offsets()[points]
        x = (self._offsets / _CENTRE).astype(np.float32)
        centred = self.template - self.template.mean(axis=(1, 2), keepdims=True)
        terms = [np.ones_like(centred), centred, dx, dy, x * dx, x[:, None] * dy]
        self.basis = np.stack(terms, axis=1).reshape(len(pixels), len(terms), -1)
        gram = (self.basis @ self.basis.swapaxes(1, 2)).astype(np.float64)
        ridge = 1e-6 * np.trace(gram, axis1=1, axis2=2) + 1e-6
        self.inverse = np.linalg.inv(gram + np.eye(len(terms)) * ridge[:, None, None])
        power = np.maximum((centred**2).sum(axis=(1, 2)), 1)
        self.sharpness = (dx**2 + dy**2).sum(axis=(1, 2)) / power

    def differences(
        self,
        first: np.ndarray,
        second: np.ndarray,
        symmetry: np.ndarray,
        shift: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        """√(1 − r²) of rows `first` and `second` (m,), from 0 to 1: float (m,).

        Starts where the second under the symmetry (m,), at points scaled by `scale` and moved by
        `shift` (m, 2; y and x, px), equals the first. The blurrier image is the template, and of
        two equally blurred ones each is, so that the order of the two is of no effect.
        """
        warps = _Warps(first, second, symmetry, shift, scale)
        swapped = self.sharpness[first] > self.sharpness[second]
        best = self._descend(_exchange(swapped, warps))
        ties = np.isclose(self.sharpness[first], self.sharpness[second], rtol=_TIE, atol=0)
        if ties.any():
            reverse = _exchange(~swapped[ties], _Warps(*(values[ties] for values in warps)))
            best[ties] = np.minimum(best[ties], self._descend(reverse))
        return best

    def _descend(self, warps: "_Warps") -> np.ndarray:
        """The least difference on the way, with the rows `first` as the templates: (m,)."""
        first, second, symmetry, shift, scale = warps
        best = np.ones(len(first))
        active = np.arange(len(first))
        for step in range(STEPS + 1):
            images = self.blurred[second[active]]
            warped, inside = warp(images, symmetry[active], shift, scale, self._offsets)
            r = _correlation(self.template[first[active]], warped, inside)
            best[active] = np.minimum(best[active], np.sqrt(1 - r.clip(0, 1) ** 2))
            unclear = (best[active] > _DONE) & (best[active] < _HOPELESS)
            if step == STEPS or not unclear.any():
                break
            active, warped = active[unclear], warped[unclear]
            fit = self.fit(first[active], warped.reshape(len(active), -1))
            shift, scale = improved(fit.coefficients, shift[unclear], scale[unclear])
        return best

    def sample(
        self, images: np.ndarray, symmetry: np.ndarray, shift: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """Warped images (m, 64, 64) or (m, 32, 32) at the points compared: (m, points)."""
        return warp(images, symmetry, shift, scale, self._offsets)[0].reshape(
            len(images), len(self._offsets) ** 2
        )

    def fit(self, first: np.ndarray, values: np.ndarray) -> "Fit":
        """Regress grids `values` (m, points) on the basis of rows `first` (m,)."""
        centred = values - values.mean(axis=1, keepdims=True)
        order = np.argsort(first, kind="stable")
        bounds = np.searchsorted(first[order], np.arange(len(self.basis) + 1))
        products = np.empty((len(values), self.basis.shape[1]))
        for row, (start, end) in enumerate(itertools.pairwise(bounds)):
            if start < end:
                chosen = order[start:end]
                products[chosen] = centred[chosen] @ self.basis[row].T
        coefficients = (self.inverse[first] @ products[..., None])[..., 0]
        power = np.maximum(np.einsum("mi,mi->m", centred, centred), 1)
        explained = np.einsum("mi,mi->m", products, coefficients)
        return Fit(coefficients, np.sqrt(np.clip(1 - explained / power, 0, 1)))


@dataclass(frozen=True)
class Fit:
    """Coefficients of the basis (m, 6), and √(1 − R²) (m,)."""

    coefficients: np.ndarray
    residual: np.ndarray


def improved(
    coefficients: np.ndarray, shift: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale (m, 2) after one step of Gauss and Newton's method."""
    gain = coefficients[:, 1:2]
    moved = np.where(gain > _MIN_GAIN, coefficients[:, 2:] / np.maximum(gain, _MIN_GAIN), 0)
    dx, dy, growth_x, growth_y = moved.clip(-2, 2).T
    shift = shift - scale * np.stack([dy, dx], axis=1)
    scale = scale * (1 - np.stack([growth_y, growth_x], axis=1) / _CENTRE)
    return shift.clip(-MAX_SHIFT, MAX_SHIFT), scale.clip(*SCALES)


class _Warps(NamedTuple):
    """Pairs of rows (m,), and the warps of the second that make it the first: see `differences`."""

    first: np.ndarray
    second: np.ndarray
    symmetry: np.ndarray
    shift: np.ndarray
    scale: np.ndarray


def _exchange(swapped: np.ndarray, warps: _Warps) -> _Warps:
    """The same warps with the two rows exchanged where `swapped` (m,) is true."""
    first, second, symmetry, shift, scale = warps
    shift, scale = inverse_warp(symmetry, shift, scale, swapped)
    symmetry = np.where(swapped, np.array(INVERSE)[symmetry], symmetry)
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    return _Warps(first, second, symmetry, shift, scale)


def inverse_warp(
    symmetry: np.ndarray, shift: np.ndarray, scale: np.ndarray, swapped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale (m, 2) of the inverse of warps, where `swapped` (m,) is true."""
    transpose, *flips = _FLAGS[symmetry].T
    inverse_shift = np.where(np.stack(flips, axis=1), shift / scale, -shift / scale)
    inverse_scale = 1 / scale
    for values in (inverse_shift, inverse_scale):
        values[transpose] = values[transpose, ::-1]
    columns = swapped[:, None]
    return np.where(columns, inverse_shift, shift), np.where(columns, inverse_scale, scale)


def blur(thumbnails: np.ndarray) -> np.ndarray:
    """Blurred images (n, 64, 64), float32."""
    smooth = _filters()[0]
    return np.asarray(smooth @ thumbnails.astype(np.float32) @ smooth.T)


def at_grid(thumbnails: np.ndarray) -> np.ndarray:
    """Blurred images at the points of the grid: (n, 64, 64) → float32 (n, 32, 32)."""
    smooth = _to_grid() @ _filters()[0]
    return np.asarray(smooth @ thumbnails.astype(np.float32) @ smooth.T)


@cache
def _to_grid() -> np.ndarray:
    """(32, 64): the mean of each cell."""
    cell = THUMBNAIL // SIDE
    return np.repeat(np.eye(SIDE, dtype=np.float32), cell, axis=1) / cell


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """(64, 64) each: Gaussian blur, and its derivative."""
    from scipy.ndimage import gaussian_filter1d

    eye = np.eye(THUMBNAIL, dtype=np.float32)
    return tuple(gaussian_filter1d(eye, BLUR, axis=0, order=order) for order in (0, 1))


def _grid_offsets() -> np.ndarray:
    """Distances of the grid points from the centre, px: (32,)."""
    cell = THUMBNAIL // SIDE
    return np.asarray(cell * np.arange(SIDE) + (cell - 1) / 2 - _CENTRE)


def warp(
    images: np.ndarray,
    symmetry: np.ndarray,
    shift: np.ndarray,
    scale: np.ndarray,
    offsets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Images (m, 64, 64) or (m, 32, 32) sampled at the warped points: (m, p, p), inside: bool.

    Of each image under its symmetry, at the points `scale` * `offsets` + `shift` (px of 64, from
    the centre); those outside are sampled at the border.
    """
    side = images.shape[1]
    points = _CENTRE + shift[:, :, None] + scale[:, :, None] * offsets  # (m, 2, p)
    y, x = ((points >= -0.5) & (points <= THUMBNAIL - 0.5)).swapaxes(0, 1)
    cell = THUMBNAIL // side
    points = ((points - (cell - 1) / 2) / cell).clip(0, side - 1)
    transpose, *flips = _FLAGS[symmetry].T
    for axis, flip in enumerate(flips):
        points[flip, axis] = side - 1 - points[flip, axis]
    points[transpose] = points[transpose, ::-1]
    low = points.astype(np.int32).clip(0, side - 2)[..., None]
    weight = (points[..., None] - low).astype(np.float32)
    # bilinear interpolation as two matrix products
    matrices = np.zeros((*points.shape, side), np.float32)
    np.put_along_axis(matrices, low, 1 - weight, axis=3)
    np.put_along_axis(matrices, low + 1, weight, axis=3)
    warped = matrices[:, 0] @ images @ matrices[:, 1].swapaxes(1, 2)
    warped[transpose] = warped[transpose].swapaxes(1, 2)
    return warped, y[:, :, None] & x[:, None]


def _correlation(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Pearson's r of images (m, p, p) over the points inside: (m,); 0 for a constant image."""
    count = inside.sum(axis=(1, 2))
    first, second = ((image * inside).reshape(len(inside), -1) for image in (first, second))

    def moment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        means = [image.sum(axis=1, dtype=np.float64) / count for image in (a, b)]
        return np.asarray(np.einsum("mi,mi->m", a, b) / count - means[0] * means[1])

    # 0.05: half a gray level of a constant image, after the blur
    power = np.maximum(moment(first, first) * moment(second, second), 0.05)
    return np.asarray(moment(first, second) / np.sqrt(power))
