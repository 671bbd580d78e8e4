"""The part of an image that matters for its pose: the head, without the dark around it."""

import numpy as np
from PIL import Image

DARKEST, BRIGHTEST = 8.0, 40.0  # gray levels between which the threshold of the foreground lies


def foreground(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) → bool (H, W): the largest connected part brighter than the dark around it.

    Half of Otsu's threshold keeps faint skin in. Gaps and holes are closed, also those that are
    open to the bottom edge only, where the image cuts through a neck. All True where nothing
    is bright.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    bright = smooth > np.clip(0.5 * threshold_otsu(smooth), DARKEST, BRIGHTEST)
    parts, count = ndimage.label(bright)
    if count == 0:
        return np.ones(image.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    closed = ndimage.binary_closing(np.pad(parts == sizes.argmax(), 8), iterations=4)[8:-8, 8:-8]
    floored = np.pad(closed, ((0, 1), (0, 0)), constant_values=True)
    return np.asarray(ndimage.binary_fill_holes(floored)[:-1])


def normalised_head(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) → uint8 (size, size): the foreground's square box, its brightness evened out.

    The box is square, so that a wide head stays wide; what it covers beyond the image is black.
    The 98th percentile of the foreground becomes white.
    """
    mask = foreground(image)
    white = max(1.0, float(np.percentile(image[mask], 98)))
    even = (np.clip(image / white, 0, 1) * 255).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    half = max(bottom - top, right - left) / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    box = (x - half, y - half, x + half, y + half)
    cut = Image.fromarray(even).transform(
        (size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(cut)
