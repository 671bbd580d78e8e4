"""Features that need no weights: gradients of the head, the same for an image and its mirror."""

import numpy as np

from rebalance_core.poses.foreground import normalised_head

HEAD_SIZE = 64  # px of the head cut out of them
HOG = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}
# The halves of a head differ less than heads do; this weight lets both count alike.
ASYMMETRY_WEIGHT = 2.5
VERSION = 2  # raised when the numbers change, so that cached ones are not mixed with them


def hog_features(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, C) → float32 (n, 648), each value in [0, 2.5].

    Histograms of oriented gradients (Dalal and Triggs 2005) of the normalised head and of its
    mirror image: their mean and, weighted, half their absolute difference. Both stay the same
    when an image is mirrored, so that a profile is one pose whichever way it looks, and the
    difference is near 0 in views from the front, from the back and from above.
    """
    from skimage.feature import hog

    features = []
    for image in images:
        gray = image[..., 0] if image.shape[-1] == 1 else _luma(image)
        head = normalised_head(gray, HEAD_SIZE)
        here, mirrored = hog(head, **HOG), hog(head[:, ::-1], **HOG)
        difference = ASYMMETRY_WEIGHT * np.abs(here - mirrored) / 2
        features.append(np.concatenate([(here + mirrored) / 2, difference]))
    return np.stack(features).astype(np.float32)


def _luma(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) → uint8 (H, W) by ITU-R BT.601, as Pillow's mode L."""
    return np.asarray((image @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8))
