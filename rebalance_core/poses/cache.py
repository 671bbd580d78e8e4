"""Feature vectors on disk by the content of their image, appended as they are computed."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

DIGEST = 32  # bytes of a SHA-256


class FeatureCache:
    """One folder: `digests` (32 bytes an image) and `vectors` (float32) in the same order.

    Only ever appended to, vectors first, so that a kill loses at most the batch being written: a
    row counts once its digest stands there whole. Safe for several processes at once.
    """

    def __init__(self, folder: Path, width: int) -> None:
        """`width`: values of a vector."""
        self.folder, self.width = folder, width
        self._digests, self._vectors = folder / "digests", folder / "vectors"

    def rows(self) -> dict[bytes, int]:
        """Digest → row, of every whole row."""
        if not self._digests.exists():
            return {}
        count = self._whole()
        known = self._digests.read_bytes()[: count * DIGEST]
        return {known[i * DIGEST : (i + 1) * DIGEST]: i for i in range(count)}

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The vectors of `rows`: float32 (len(rows), width)."""
        if len(rows) == 0:
            return np.zeros((0, self.width), np.float32)
        whole = np.memmap(self._vectors, np.float32, "r", shape=(self._whole(), self.width))
        return np.asarray(whole[np.asarray(rows)])

    def append(self, digests: Sequence[bytes], vectors: np.ndarray) -> None:
        """Add rows; ones that are there already (from another process) are added again, which
        costs space but does no harm: `rows` names the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            count = self._whole()
            self._add(self._vectors, count * 4 * self.width, vectors.astype("<f4").tobytes())
            self._add(self._digests, count * DIGEST, b"".join(digests))

    def _whole(self) -> int:
        sizes = [p.stat().st_size if p.exists() else 0 for p in (self._digests, self._vectors)]
        return min(sizes[0] // DIGEST, sizes[1] // (4 * self.width))

    @staticmethod
    def _add(path: Path, at: int, data: bytes) -> None:
        """Write at the end of the whole rows, over what a kill may have left half-written."""
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(at)
            file.seek(at)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
