"""Gray values of images that are not 8 bits: their statistics, and limits for many images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BITS = (8, 10, 12, 14, 16)  # depths of unsigned images
FEW = 0.02  # share of an image's pixels up to which an isolated top value is a burned-in mark
MARK_SHADES, WHITE = 3, 0.3  # distinct values of a mark, or the share of its pixels at the top
FAR = 20  # ranges of the other values, beyond which a value is no measurement, however frequent
GAP = 0.2  # of the range of the other values, from which a value below the lowest HU is padding
LOWEST_HU = -1100  # Hounsfield units; air is -1000
FEW_VALUES, MANY_VALUES = 4, 16  # distinct values of an image
COUNTED = 2**17  # range of integers that are counted one by one
TAIL = 0.005  # share of pixels on either side that limits may leave out
REACH = 0.5  # of the range without tails, up to which limits still include a tail
OVERSHOOT, RINGING = 0.02, 0.25  # of resampled floats beyond 0 to 1: usual, and at most
USED = 0.125  # of a known range of floats that must be used for it to be recognised
_QUANTILES = np.array(
    [0, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05]
    + [k / 10 for k in range(1, 10)]
    + [0.95, 0.98, 0.99, 0.995, 0.9975, 0.999, 0.9995, 1]
)
_WEIGHTS = np.diff(np.r_[0, (_QUANTILES[1:] + _QUANTILES[:-1]) / 2, 1])


@dataclass(frozen=True)
class GrayStatistics:
    """The distribution of one image's gray values, without NaN, infinity, marks and padding."""

    quantiles: np.ndarray  # float64, at _QUANTILES
    distinct: int  # values
    pixels: int
    is_integer: bool
    not_finite: int = 0  # pixels that are NaN or infinite


@dataclass(frozen=True)
class Limits:
    """Gray values shown as 0 and 255, and how they were chosen."""

    rule: str
    low: float
    high: float


def measure_gray_values(
    values: np.ndarray, is_integer: bool, padding: np.ndarray | None = None
) -> GrayStatistics:
    """Statistics of gray values (H, W), without the pixels of the mask `padding`.

    Raises ValueError if no pixel is a finite number.
    """
    finite = np.isfinite(values)
    missing = values.size - int(finite.sum())
    if missing == values.size:
        raise ValueError("all of its pixels are NaN or infinite")
    if padding is not None and not (padding | ~finite).all():
        finite &= ~padding
    distinct, counts = _trim(*_count_values(values[finite]))
    ends = np.cumsum(counts)
    places = np.minimum(np.searchsorted(ends, _QUANTILES * ends[-1]), len(ends) - 1)
    return GrayStatistics(distinct[places], len(distinct), int(ends[-1]), is_integer, missing)


def _count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct values as float64, and their counts."""
    if values.dtype.kind in "iu":
        least = int(values.min())
        if int(values.max()) - least < COUNTED:  # faster than sorting
            counts = np.bincount(values.astype(np.int64) - least)
            used = np.flatnonzero(counts)
            return (used + least).astype(np.float64), counts[used]
    distinct, counts = np.unique(values, return_counts=True)
    return distinct.astype(np.float64), counts


def _trim(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Remove a burned-in mark and padding from sorted distinct values and their counts."""
    start = 0
    while len(values) - start > FEW_VALUES and values[start] < 0:
        gap, rest = values[start + 1] - values[start], values[-1] - values[start + 1]
        if gap <= FAR * rest and (values[start] >= LOWEST_HU or gap <= GAP * rest):
            break
        start += 1
    values, counts = values[start:], counts[start:]
    end = _start_of_mark(values, counts)
    return values[:end], counts[:end]


def _start_of_mark(values: np.ndarray, counts: np.ndarray) -> int:
    """The index of the first value of a burned-in mark; the number of values without one.

    A mark is farther from the other values than they are from each other. It is of few pixels, in
    few shades or mostly white (the most that a depth holds), or so far that it is no measurement.
    """
    gaps, spans = np.diff(values), values[:-1] - values[0]
    above = counts.sum() - np.cumsum(counts[:-1])  # pixels above each gap
    is_white = any(values[-1] == 2**bits - 1 for bits in BITS)
    for below in np.flatnonzero(gaps > spans):
        left, shades = int(below) + 1, len(values) - int(below) - 1
        is_uniform = shades <= MARK_SHADES or (is_white and counts[-1] >= WHITE * above[below])
        is_few = left >= FEW_VALUES and above[below] <= FEW * counts.sum()
        is_far = left >= MANY_VALUES and gaps[below] > FAR * spans[below]
        if is_uniform and (is_few or is_far):
            return left
    return len(values)


def choose_limits(
    images: Sequence[GrayStatistics], *, is_ct: bool = False, is_relative: bool = False
) -> Limits:
    """One pair of limits for all images: by bit depth or known range, else robust.

    `is_ct`: the values are Hounsfield units; `is_relative`: they have no absolute scale.
    """
    images = [image for image in images if image.distinct >= FEW_VALUES] or list(images)
    spread = measure_spread(images)
    robust = spread.robust_limits
    if is_relative:
        return Limits("robust limits", *robust)
    if is_ct:
        return Limits("Hounsfield units", *robust)
    if not all(image.is_integer for image in images):
        return _by_known_range(spread) or Limits("floats", *robust)
    if spread.least < 0:
        is_hu = LOWEST_HU <= spread.least <= LOWEST_HU / 2
        return Limits("Hounsfield units" if is_hu else "signed integers", *robust)
    return _by_depth(spread.most) or Limits("integers", *robust)


def _by_depth(high: float) -> Limits | None:
    """From 0 to the most that the least depth can hold; None beyond 16 bits."""
    bits = next((n for n in BITS if high < 2**n), 0)
    return Limits(f"{bits} bits", 0.0, float(2**bits - 1)) if bits else None


def _by_known_range(spread: "Spread") -> Limits | None:
    """0 to 1, -1 to 1 or 0 to 255, if floats use much of it; None for others."""
    least, most = spread.least, spread.most
    is_inside = spread.low >= -OVERSHOOT and spread.high <= 1 + OVERSHOOT
    if is_inside and least > -RINGING and USED < most < 1 + RINGING:
        return Limits("floats", 0.0, 1.0)
    if -1 - OVERSHOOT <= least < 0 and most <= 1 + OVERSHOOT and max(-least, most) > USED:
        return Limits("floats", -1.0, 1.0)
    if least >= 0 and 255 * USED < most <= 255:
        return Limits("floats", 0.0, 255.0)
    return None


@dataclass(frozen=True)
class Spread:
    """Gray values over all pixels of all images: extremes, and without the TAIL on either side."""

    least: float
    low: float
    high: float
    most: float

    @property
    def robust_limits(self) -> tuple[float, float]:
        """Low and high, moved out to the extremes where these are not far beyond.

        So nothing of an ordinary image is clipped.
        """
        reach = REACH * (self.high - self.low) if self.high > self.low else np.inf
        low = self.least if self.low - self.least <= reach else self.low
        return low, self.most if self.most - self.high <= reach else self.high


def measure_spread(images: Sequence[GrayStatistics]) -> Spread:
    values = np.concatenate([image.quantiles for image in images])
    weights = np.concatenate([image.pixels * _WEIGHTS for image in images])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    share = np.cumsum(weights) / weights.sum()
    places = np.searchsorted(share, [TAIL, 1 - TAIL]).clip(0, len(values) - 1)
    low, high = values[places].tolist()
    return Spread(float(values[0]), low, high, float(values[-1]))


def scale_gray_values(
    values: np.ndarray, low: float, high: float, *, inverted: bool = False
) -> np.ndarray:
    """Map low..high to 0..255: uint8 (H, W); beyond, 0 or 255; NaN becomes 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-30))
    scaled = scaled.clip(0, 255)
    if inverted:
        scaled = 255.0 - scaled
    return np.nan_to_num(scaled, nan=0.0).round().astype(np.uint8)
