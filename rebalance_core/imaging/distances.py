"""The training image nearest to each generated one: is it a copy?"""

import numpy as np

BLOCK = 256  # others at once


def nearest_images(generated: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (m, H, W, C) and (n, H, W, C) → rows of `real` (m,), distances (m,).

    The distance is the root mean square difference of pixels, in gray levels (0 to 255).
    """
    squared = squared_distances(generated, real)
    rows = squared.argmin(axis=1)
    values = generated[0].size
    return rows, np.sqrt(squared[np.arange(len(rows)), rows] / values).astype(np.float32)


def squared_distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m, …) and (n, …) of any numbers → float64 (m, n), sums over all the rest."""
    # In float64, where sums of squared bytes are exact: a copy lies at 0, not near it.
    a = some.reshape(len(some), -1).astype(np.float64)
    lengths = np.einsum("ij,ij->i", a, a)
    blocks = []
    for start in range(0, len(others), BLOCK):
        b = others[start : start + BLOCK].reshape(-1, a.shape[1]).astype(np.float64)
        blocks.append(lengths[:, None] - 2 * (a @ b.T) + np.einsum("ij,ij->i", b, b)[None])
    squared: np.ndarray = np.maximum(np.concatenate(blocks, axis=1), 0.0)
    return squared
