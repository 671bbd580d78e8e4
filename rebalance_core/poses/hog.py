"""HOG features of the head, invariant to horizontal flips; they need no weights."""

import numpy as np

from rebalance_core.poses.foreground import normalized_head

HEAD_SIZE = 64  # px of the cropped head
HOG = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}
# Differences between the halves of a head are smaller than those between heads; this balances them.
ASYMMETRY_WEIGHT = 2.5
VERSION = 2  # increment when the output changes: it is part of the cache's key


def hog_features(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, C) → float32 (n, 648), each value in [0, 2.5].

    Histograms of oriented gradients (Dalal and Triggs 2005) of the normalized head and of its
    mirror image: their mean and, weighted, half their absolute difference. Both are invariant to
    horizontal flips, so that left and right profiles are one pose, and the difference is near 0
    in views from the front, from the back and from above.
    """
    from skimage.feature import hog

    features = []
    for image in images:
        gray = image[..., 0] if image.shape[-1] == 1 else _luma(image)
        head = normalized_head(gray, HEAD_SIZE)
        original, mirrored = hog(head, **HOG), hog(head[:, ::-1], **HOG)
        difference = ASYMMETRY_WEIGHT * np.abs(original - mirrored) / 2
        features.append(np.concatenate([(original + mirrored) / 2, difference]))
    return np.stack(features).astype(np.float32)


def _luma(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) → uint8 (H, W) by ITU-R BT.601, like Pillow's mode L."""
    return np.asarray((image @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8))
