"""Claim: 1,000 phantoms at 64 px take less than 5 s; theirs: encoding them as PNG.

Guard: the images are identical in every pair.
"""

import hashlib
import statistics
import sys
import time

from benchmarks._report import medians, report
from rebalance_core.datasets.phantom import make_phantom
from rebalance_core.imaging.grid import png_bytes

PAIRS = 5
LIMIT = 5.0  # seconds


def main() -> int:
    ours, theirs, digests = [], [], set()
    for _ in range(PAIRS):
        start = time.perf_counter()
        batch = make_phantom(1000, size=64, seed=0)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        for image in batch.images:
            png_bytes(image)
        theirs.append(time.perf_counter() - start)
        digests.add(hashlib.sha256(batch.images.tobytes()).hexdigest())
    return report(
        claim="seconds to draw 1,000 phantoms at 64 px; theirs: to encode them as PNG",
        **medians(ours, theirs),
        unit="s",
        target=LIMIT,
        target_met=statistics.median(ours) < LIMIT,
        guards={"same_images": len(digests) == 1},
    )


if __name__ == "__main__":
    sys.exit(main())
