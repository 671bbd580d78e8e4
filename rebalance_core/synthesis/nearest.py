"""The training image nearest to each generated one: is it a copy?"""

import numpy as np


def nearest_images(generated: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (m, H, W, C) and (n, H, W, C) → rows of `real` (m,), distances (m,).

    The distance is the root mean square difference of pixels, in gray levels (0 to 255).
    """
    a = generated.reshape(len(generated), -1).astype(np.float32)
    b = real.reshape(len(real), -1).astype(np.float32)
    squared = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]
    rows = squared.argmin(axis=1)
    distances = np.sqrt(np.maximum(squared[np.arange(len(a)), rows], 0) / a.shape[1])
    return rows, distances
