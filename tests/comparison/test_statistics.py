"""Statistics against scipy and against values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from rebalance_core.comparison.statistics import (
    bootstrap_interval,
    holm,
    interval,
    paired_p,
    swing,
)

NONE = [0.50, 0.61, 0.70, 0.55, 0.64]
DDPM = [0.53, 0.62, 0.76, 0.57, 0.69]
GAINS = [100 * (b - a) for a, b in zip(NONE, DDPM, strict=True)]


def test_an_interval_is_the_t_interval_of_the_mean() -> None:
    assert interval([]) is None
    assert interval([3.0]) is None
    values = [1.0, 2.0, 6.0]
    mean, error = 3.0, (7 / 3) ** 0.5  # the standard error: √(7 ÷ 3), as 4 + 1 + 9 = 2 · 7
    expected = stats.t.interval(0.95, 2, loc=mean, scale=error)
    assert interval(values) == pytest.approx(expected, abs=1e-12)
    assert interval(values) == pytest.approx((-3.5724, 9.5724), abs=1e-4)
    assert interval([5.0, 5.0]) == (5.0, 5.0)


def test_the_bootstrap_is_scipys() -> None:
    expected = stats.bootstrap(
        (np.array(GAINS),), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_interval(GAINS) == (expected.low, expected.high)
    assert bootstrap_interval([1.0]) is None
    assert bootstrap_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    low, high = bootstrap_interval([0.0, 4.0])  # means 0, 2 and 4, a quarter, a half, a quarter
    assert (low, high) == (0.0, 4.0)


def test_the_paired_test_is_scipys() -> None:
    assert paired_p(GAINS) == pytest.approx(stats.ttest_rel(DDPM, NONE).pvalue, rel=1e-9)
    assert paired_p([1.0]) is None
    assert paired_p([0.0, 0.0]) == 1.0
    assert paired_p([2.0, 2.0]) == 0.0


def test_holms_correction_by_hand() -> None:
    # 0.01 · 4, then the larger of that and 0.02 · 3, of these and 0.03 · 2, and 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4]) == [0.4]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    many = [0.001, 0.2, 0.04, 0.012]
    # scipy has no Holm; its bound is Bonferroni's, which Holm never exceeds.
    assert all(h <= min(1, 4 * p) for h, p in zip(holm(many), many, strict=True))


def test_swing_is_the_mean_change() -> None:
    assert swing([0.5, 0.7, 0.6]) == pytest.approx(0.15)
    assert swing([0.5]) is None
