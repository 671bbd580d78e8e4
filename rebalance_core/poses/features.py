"""Feature vectors of images, cached by content and extractor."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.files import write_bytes
from rebalance_core.runs.run import Cancelled, Run

HOG_SIZE = 64  # px
HOG = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2)}
CHUNK = 128


def hog_features(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005): uint8 (n, 64, 64, C) → (n, d)."""
    from skimage.feature import hog

    channel_axis = None if images.shape[3] == 1 else -1
    return np.stack(
        [
            hog(i[..., 0] if channel_axis is None else i, channel_axis=channel_axis, **HOG)
            for i in images
        ]
    ).astype(np.float32)


def dataset_features(dataset: Dataset, rows: np.ndarray, run: Run) -> np.ndarray:
    """HOG of the catalogue's `rows`: float32 (len(rows), d); computes only what isn't cached."""
    path = dataset.path / "features" / "hog.npz"
    digests = dataset.catalogue["sha256"].to_numpy().astype(str)[rows]
    known: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path) as cache:
            known = dict(zip(cache["sha256"].tolist(), cache["features"], strict=True))
    missing = {d: int(row) for d, row in zip(digests, rows, strict=True) if d not in known}
    if missing:
        images = dataset.array(HOG_SIZE, run.progress)
        chunks = [list(missing.values())[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        # skimage holds the interpreter's lock; spawned processes are safe beside threads.
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            done = []
            for number, part in enumerate(pool.map(hog_features, (images[c] for c in chunks))):
                if run.should_stop():
                    pool.shutdown(cancel_futures=True)
                    raise Cancelled
                done.append(part)
                run.progress(0.9 * (number + 1) / len(chunks), f"features of {len(missing)} images")
        known |= dict(zip(missing, np.concatenate(done), strict=True))
        write_bytes(path, _npz(known))
    return np.stack([known[d] for d in digests])


def _npz(known: dict[str, np.ndarray]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, sha256=np.array(list(known)), features=np.stack(list(known.values())))
    return buffer.getvalue()
