"""Segmentation of the head: the part of an image that matters for its pose."""

import numpy as np
from PIL import Image

MIN_THRESHOLD, MAX_THRESHOLD = 8.0, 40.0  # gray levels


def foreground(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) → bool (H, W): the largest connected component above a threshold.

    The threshold is half of Otsu's, which keeps faint skin. Gaps and holes are closed, also those
    open at the bottom edge only, where the image cuts through the neck. All True where no pixel
    is above the threshold.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    threshold = np.clip(0.5 * threshold_otsu(smooth), MIN_THRESHOLD, MAX_THRESHOLD)
    components, count = ndimage.label(smooth > threshold)
    if count == 0:
        return np.ones(image.shape, bool)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0  # the background
    largest = np.pad(components == sizes.argmax(), 8)
    closed = ndimage.binary_closing(largest, iterations=4)[8:-8, 8:-8]
    with_floor = np.pad(closed, ((0, 1), (0, 0)), constant_values=True)
    return np.asarray(ndimage.binary_fill_holes(with_floor)[:-1])


def normalized_head(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) → uint8 (size, size): the square bounding box of the foreground, normalized.

    The box is square, so that the aspect ratio of a head is kept; outside the image it is black.
    The 98th percentile of the foreground becomes white.
    """
    mask = foreground(image)
    white = max(1.0, float(np.percentile(image[mask], 98)))
    normalized = (np.clip(image / white, 0, 1) * 255).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    half = max(bottom - top, right - left) / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    box = (x - half, y - half, x + half, y + half)
    head = Image.fromarray(normalized).transform(
        (size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(head)
