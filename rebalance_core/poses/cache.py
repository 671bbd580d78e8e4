"""An append-only cache of feature vectors on disk, keyed by the content of the image."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from rebalance_core.errors import UserError

DIGEST_SIZE = 32  # bytes of a SHA-256


class FeatureCache:
    """A folder with `digests` (32 bytes per image) and `vectors` (float32) in the same order.

    Vectors are appended first: a row is valid once its digest is complete, so a kill loses at most
    the batch being written. Safe for concurrent processes.
    """

    def __init__(self, folder: Path, width: int) -> None:
        """`width`: number of values per vector."""
        self.folder, self.width = folder, width
        self._digests, self._vectors = folder / "digests", folder / "vectors"

    def rows(self) -> dict[bytes, int]:
        """{digest: row} of all complete rows."""
        if not self._digests.exists():
            return {}
        count = self._count()
        data = self._digests.read_bytes()
        return {data[i * DIGEST_SIZE : (i + 1) * DIGEST_SIZE]: i for i in range(count)}

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The vectors of `rows`: float32 (len(rows), width).

        Raises UserError where they are NaN or infinite: the file was damaged.
        """
        if len(rows) == 0:
            return np.zeros((0, self.width), np.float32)
        stored = np.memmap(self._vectors, np.float32, "r", shape=(self._count(), self.width))
        vectors = np.asarray(stored[np.asarray(rows)])
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{self._vectors} is damaged (values are NaN or infinite); remove its folder, and "
                "the features are computed again."
            )
        return vectors

    def append(self, digests: Sequence[bytes], vectors: np.ndarray) -> None:
        """Append rows. Duplicates, written by another process, only cost space: `rows` returns
        the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            count = self._count()
            self._write(self._vectors, count * 4 * self.width, vectors.astype("<f4").tobytes())
            self._write(self._digests, count * DIGEST_SIZE, b"".join(digests))

    def _count(self) -> int:
        """Number of complete rows."""
        sizes = [p.stat().st_size if p.exists() else 0 for p in (self._digests, self._vectors)]
        return min(sizes[0] // DIGEST_SIZE, sizes[1] // (4 * self.width))

    @staticmethod
    def _write(path: Path, offset: int, data: bytes) -> None:
        """Write after the last complete row, over a partial row that a kill may have left."""
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
