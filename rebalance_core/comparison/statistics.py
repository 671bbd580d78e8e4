"""Statistics over seeds: intervals, paired tests and their correction for several contrasts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIGNIFICANT = 0.05  # level of the corrected p
LEVEL = 1 - SIGNIFICANT
FEWEST_SEEDS = 3  # needed for a test
# Points. Standard deviations up to this are rounding errors of equal values: scores computed in
# float32 differ by 1e-5 points, one image in 100,000 changes them by 1e-3.
SPREAD = 1e-4
Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedTest:
    """A two-sided paired t-test and its confidence interval.

    Both `p_corrected` and the level of `interval` are Bonferroni-corrected, so the interval
    excludes zero exactly where `p_corrected` is below `SIGNIFICANT`.
    """

    p: float
    p_corrected: float
    interval: Interval


def interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The t-interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    quantile = t.ppf((1 + level) / 2, len(values) - 1)
    half = float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))
    mean = float(np.mean(values))
    return mean - half, mean + half


def testable(differences: Sequence[float]) -> bool:
    """Whether a t-test is defined: at least `FEWEST_SEEDS` differences that are not all equal."""
    return len(differences) >= FEWEST_SEEDS and float(np.std(differences, ddof=1)) > SPREAD


def paired_test(differences: Sequence[float], contrasts: int = 1) -> PairedTest | None:
    """Test whether the mean of `differences` (points, one per seed) is zero.

    Corrected for `contrasts` tests. None where no test is defined (`testable`).
    """
    if not testable(differences):
        return None
    from scipy.stats import ttest_1samp

    p = float(ttest_1samp(differences, 0.0).pvalue)
    bounds = interval(differences, 1 - SIGNIFICANT / contrasts)
    assert bounds is not None  # there are at least FEWEST_SEEDS values
    return PairedTest(p, min(1.0, contrasts * p), bounds)


def swing(values: Sequence[float]) -> float | None:
    """Mean absolute change from one epoch to the next; None for a single epoch."""
    return None if len(values) < 2 else float(np.abs(np.diff(values)).mean())
