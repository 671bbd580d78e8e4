"""Pixel distances, and the real image nearest to each generated one."""

import numpy as np

BLOCK = 256  # images at a time


def nearest_images(generated: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest real image of each generated one, to detect copies.

    uint8 (m, H, W, C) and (n, H, W, C) → rows of `real` (m,) and distances (m,), the root mean
    square difference of pixels in gray levels (0 to 255).
    """
    squared = squared_distances(generated, real)
    rows = squared.argmin(axis=1)
    values = generated[0].size
    return rows, np.sqrt(squared[np.arange(len(rows)), rows] / values).astype(np.float32)


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances: (m, …) and (n, …) → float64 (m, n)."""
    # float64 sums of squared bytes are exact, so that a copy has distance 0, not almost 0
    a = first.reshape(len(first), -1).astype(np.float64)
    norms = np.einsum("ij,ij->i", a, a)
    blocks = []
    for start in range(0, len(second), BLOCK):
        b = second[start : start + BLOCK].reshape(-1, a.shape[1]).astype(np.float64)
        blocks.append(norms[:, None] - 2 * (a @ b.T) + np.einsum("ij,ij->i", b, b)[None])
    squared: np.ndarray = np.maximum(np.concatenate(blocks, axis=1), 0.0)
    return squared
