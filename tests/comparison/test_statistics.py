"""Statistics against scipy and against values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from rebalance_core.comparison.statistics import SIGNIFICANT, interval, paired_test, swing

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
    wider = stats.t.interval(0.99, 2, loc=mean, scale=error)
    assert interval(values, 0.99) == pytest.approx(wider, abs=1e-12)
    assert interval([5.0, 5.0]) == (5.0, 5.0)


def test_the_paired_test_is_scipys() -> None:
    test = paired_test(GAINS)
    assert test is not None
    assert test.p == pytest.approx(stats.ttest_rel(DDPM, NONE).pvalue, rel=1e-9)
    assert test.p_corrected == test.p
    expected = stats.ttest_rel(DDPM, NONE).confidence_interval(0.95)
    assert test.interval == pytest.approx((100 * expected.low, 100 * expected.high))


def test_interval_and_p_are_corrected_alike() -> None:
    test = paired_test(GAINS, 8)
    assert test is not None
    assert test.p_corrected == pytest.approx(8 * stats.ttest_rel(DDPM, NONE).pvalue, rel=1e-9)
    expected = stats.ttest_rel(DDPM, NONE).confidence_interval(1 - 0.05 / 8)
    assert test.interval == pytest.approx((100 * expected.low, 100 * expected.high))
    assert paired_test([-1.0, 0.0, 2.0], 4).p_corrected == 1.0  # never above


def test_the_interval_excludes_zero_just_where_p_is_below_the_level() -> None:
    random = np.random.default_rng(0)
    shown = 0
    for _ in range(500):
        number = int(random.integers(3, 12))
        gains = random.normal(random.choice([0.0, 1.0, 3.0]), 1.0, number)
        test = paired_test(gains, int(random.integers(1, 10)))
        assert test is not None
        excluded = test.interval[0] > 0 or test.interval[1] < 0
        assert excluded == (test.p_corrected < SIGNIFICANT)
        shown += excluded
    assert 100 < shown < 400  # both cases were tried


@pytest.mark.parametrize(
    "gains",
    [
        [],
        [2.0],
        [2.0, 3.0],  # two seeds
        [2.0, 2.0, 2.0],
        [0.0, 0.0, 0.0, 0.0],
        [100 * (0.52 - 0.5), 100 * (0.62 - 0.6), 100 * (0.72 - 0.7)],  # equal but for rounding
    ],
)
def test_nothing_is_tested_below_three_seeds_or_without_variance(gains: list[float]) -> None:
    assert paired_test(gains) is None


def test_swing_is_the_mean_change() -> None:
    assert swing([0.5, 0.7, 0.6]) == pytest.approx(0.15)
    assert swing([0.5]) is None
