"""Claim: the 95 % interval of an exchange rate holds the true number in at least 93 % of studies.

Ours: the share of simulated studies of ten seeds whose interval contains the truth; theirs: 95 %.
Scores are a learning curve of 0, 1, 2 and 4 times the rare images, and an arm that is worth 3
times, each with noise of its own and noise that all arms of a seed share. The truth lies on the
curve as it is interpolated, so that this tests the interval, not the interpolation. Guards: the
coverage at each standard deviation, and that the ends differ by at most a factor of 4 in 95 % of
the studies.
"""

import sys

import numpy as np

from benchmarks._report import Guard, report
from rebalance_core.comparison.exchange import exchange_rate
from rebalance_core.comparison.scores import ArmScores, Score

OWN = 100  # rare training images
LEVELS = {0: 60.0, 100: 66.0, 200: 68.0, 400: 72.0}  # {real images given back: points}
TRUTH = 300
STUDIES, SEEDS = 400, 10
DEVIATIONS = (0.5, 1.0, 2.0)  # points, of a seed's own noise


def scores(values: np.ndarray) -> ArmScores:
    return ArmScores({seed: Score(float(value)) for seed, value in enumerate(values)})


def simulate(deviation: float, random: np.random.Generator) -> tuple[float, float]:
    """The share of intervals that contain the truth, and the 95th percentile of their ratio."""
    positions = np.log2(1 + np.array(list(LEVELS)) / OWN)
    level = float(np.interp(np.log2(1 + TRUTH / OWN), positions, list(LEVELS.values())))
    hits, ratios = 0, []
    for _ in range(STUDIES):
        shared = random.normal(0, deviation, SEEDS)
        noise = random.normal(0, deviation, (len(LEVELS) + 1, SEEDS)) + shared
        curve = {n: scores(v + noise[k]) for k, (n, v) in enumerate(LEVELS.items())}
        rate = exchange_rate(scores(level + noise[-1]), curve, OWN)
        assert rate is not None
        assert rate[1] is not None
        low, high = rate[1]
        hits += low <= TRUTH <= high
        ratios.append(high / max(low, 1.0))
    return hits / STUDIES, float(np.percentile(ratios, 95))


def main() -> int:
    random = np.random.default_rng(0)
    found = {deviation: simulate(deviation, random) for deviation in DEVIATIONS}
    coverage = [share for share, _ in found.values()]
    guards: dict[str, object] = {}
    for deviation, (share, ratio) in found.items():
        guards[f"coverage_{deviation:g}"] = Guard(round(share, 3), share >= 0.93)
        guards[f"ratio_{deviation:g}"] = Guard(round(ratio, 2), ratio <= 4)
    mean = float(np.mean(coverage))
    return report(
        claim=f"share of {STUDIES} studies of {SEEDS} seeds whose 95 % interval of the exchange "
        "rate contains the true number of real images",
        ours=round(mean, 3),
        theirs=0.95,
        unit="share",
        ratio=round(mean / 0.95, 3),
        target=0.98,
        guards=guards,
    )


if __name__ == "__main__":
    sys.exit(main())
