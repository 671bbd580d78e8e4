"""Claim: a training step slows down little when another process uses a core.

Ours: the worker's environment (short spins at thread barriers). Theirs: the same step with the
thread library's default. Both run beside one process that keeps a core busy; five interleaved
pairs. Guards: the losses after the same steps are equal; alone, ours is at most 1.5 times slower.
"""

import os
import statistics
import subprocess
import sys

from benchmarks._report import Guard, medians, report
from rebalance_core.runs.executor import SPIN

PAIRS = 5
SLOWER_ALONE = 1.5  # times, at most
STEPS = 6
CHILD = """
import sys, time, torch
from models.unet import seeded_unet
from models.unet_shape import UNetShape
unet = seeded_unet(UNetShape(32, 1, (16, 32, 64), 1, (2,)), 0)
x, t = torch.randn(16, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(16)
for step in range(int(sys.argv[1]) + 1):
    if step == 1:
        start = time.perf_counter()
    loss = unet(x, t).sample.square().mean()
    loss.backward()
print((time.perf_counter() - start) / int(sys.argv[1]), loss.item())
"""


def step_time(spin: dict[str, str]) -> tuple[float, float]:
    """Seconds per step, and the loss."""
    default = {k: v for k, v in os.environ.items() if k not in SPIN}
    process = subprocess.run(
        [sys.executable, "-c", CHILD, str(STEPS)],
        env={**default, **spin},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, loss = map(float, process.stdout.split())
    return seconds, loss


def main() -> int:
    alone = [(step_time(SPIN)[0], step_time({})[0]) for _ in range(2)]
    busy = [sys.executable, "-c", "while True: pass"]
    ours: list[float] = []
    theirs: list[float] = []
    losses: set[float] = set()
    neighbour = subprocess.Popen(busy)
    try:
        for _ in range(PAIRS):
            for spin, times in ((SPIN, ours), ({}, theirs)):
                seconds, loss = step_time(spin)
                times.append(seconds)
                losses.add(loss)
    finally:
        neighbour.kill()
        neighbour.wait()
    slower_alone = statistics.median(a / b for a, b in alone)
    return report(
        claim="seconds per training step of a small U-Net beside a busy process",
        **medians(ours, theirs, digits=3),
        unit="s",
        target=2.0,
        guards={
            "same_loss": len(losses) == 1,
            "slower_alone": Guard(round(slower_alone, 2), slower_alone <= SLOWER_ALONE),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
