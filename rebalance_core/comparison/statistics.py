"""What can be said over seeds: intervals, paired tests, and their correction for several arms."""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
RESAMPLES = 9_999
Interval = tuple[float, float]


def interval(values: Sequence[float]) -> Interval | None:
    """95 % t-interval of the mean; None (unknown) for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    quantile = t.ppf((1 + LEVEL) / 2, len(values) - 1)
    half = float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))
    mean = float(np.mean(values))
    return mean - half, mean + half


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """95 % bootstrap interval of the mean (percentiles of resampled means, a fixed seed).

    None for fewer than two values. Of few values it is narrower than it should be: read it beside
    the test, which is not.
    """
    if len(values) < 2:
        return None
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values, float),), np.mean, confidence_level=LEVEL, method="percentile",
        n_resamples=RESAMPLES, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of a paired t-test that the mean difference is zero; None for fewer than two."""
    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): each is compared with its own level."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def swing(values: Sequence[float]) -> float | None:
    """Mean absolute change from one epoch to the next: how unstable a curve is; None for one."""
    return None if len(values) < 2 else float(np.abs(np.diff(values)).mean())
