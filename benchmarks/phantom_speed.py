"""Claim: 1,000 phantoms at 64 px take under 5 s; measured against writing them out as PNG files.

Guard: the images are the same in every run.
"""

import hashlib
import statistics
import sys
import time

from benchmarks._report import report
from rebalance_core.datasets.phantom import make_phantom
from rebalance_core.imaging.grid import png_bytes

PAIRS = 5
LIMIT = 5.0  # seconds


def main() -> int:
    ours, theirs, digests = [], [], set()
    for _ in range(PAIRS):
        began = time.perf_counter()
        batch = make_phantom(1000, size=64, seed=0)
        drawn = time.perf_counter()
        for image in batch.images:
            png_bytes(image)
        theirs.append(time.perf_counter() - drawn)
        ours.append(drawn - began)
        digests.add(hashlib.sha256(batch.images.tobytes()).hexdigest())
    return report(
        claim="seconds to draw 1,000 phantoms at 64 px; theirs: to encode them as PNG",
        ours=round(statistics.median(ours), 2),
        theirs=round(statistics.median(theirs), 2),
        unit="s",
        ratio=round(statistics.median(t / o for o, t in zip(ours, theirs, strict=True)), 2),
        target=LIMIT,
        target_met=statistics.median(ours) < LIMIT,
        guards={"same_images": len(digests) == 1},
    )


if __name__ == "__main__":
    sys.exit(main())
