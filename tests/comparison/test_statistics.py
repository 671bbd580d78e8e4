"""Statistics against scipy and against values worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from rebalance_core.comparison.statistics import (
    SIGNIFICANT,
    adjust,
    can_use_max_t,
    estimate,
    interval,
    joint_level,
    max_t,
    power,
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
    wider = stats.t.interval(0.99, 2, loc=mean, scale=error)
    assert interval(values, 0.99) == pytest.approx(wider, abs=1e-12)
    assert interval([5.0, 5.0]) == (5.0, 5.0)


def test_over_seeds_alone_it_is_scipys_paired_test() -> None:
    of = estimate(GAINS)
    assert of is not None
    expected = stats.ttest_rel(DDPM, NONE)
    assert of.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert of.df == 4
    bounds = expected.confidence_interval(0.95)
    assert of.interval() == pytest.approx((100 * bounds.low, 100 * bounds.high))
    bounds = expected.confidence_interval(1 - 0.05 / 8)
    assert of.interval(joint_level(8)) == pytest.approx((100 * bounds.low, 100 * bounds.high))
    assert adjust(of.p, 8) == pytest.approx(8 * expected.pvalue, rel=1e-9)
    assert adjust(0.4, 4) == 1.0  # never above


def test_variance_over_seeds_and_groups_by_hand() -> None:
    """Two seeds, two groups; a mean of group values, whose pseudo-values are these values."""
    table = np.array([[1.0, 5.0], [3.0, 11.0], [2.0, 8.0]])  # (seeds, groups)
    values = table.mean(axis=1)  # 3, 7, 5
    left_out = table[:, ::-1]  # without one of two groups the other remains
    of = estimate(values, left_out)
    assert of is not None
    assert of.mean == 5.0
    assert of.groups == 2
    # over seeds: the variance of 3, 7, 5 is 4; over groups: that of 2 and 8 is 18
    assert of.variance_groups == pytest.approx(18 / 2)
    # rest: each value less its row and column means plus 5: ±1, ∓1, 0 → 4 ÷ (2 · 1) ÷ (3 · 2)
    assert of.variance_rest == pytest.approx(4 / 2 / 6)
    assert of.variance_seeds == pytest.approx(4 / 3)
    assert of.variance == pytest.approx(4 / 3 + 9 - 1 / 3)
    parts = (4 / 3) ** 2 / 2 + 9**2 / 1 + (1 / 3) ** 2 / 2
    assert of.df == pytest.approx(10**2 / parts)


def test_the_jackknife_of_a_mean_is_its_variance() -> None:
    """For the accuracy, a mean over images, the jackknife is exact: s² ÷ n."""
    random = np.random.default_rng(0)
    correct = random.integers(0, 2, (4, 50)).astype(float)
    values = correct.mean(axis=1)
    left_out = (correct.sum(axis=1, keepdims=True) - correct) / 49
    of = estimate(values, left_out)
    assert of is not None
    assert of.variance_groups == pytest.approx(correct.mean(axis=0).var(ddof=1) / 50)


def test_the_variance_is_never_below_either_of_its_parts() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        seeds, groups = random.integers(2, 6, 2)
        table = random.normal(size=(seeds, groups)) * random.choice([0.1, 1.0, 3.0])
        of = estimate(table.mean(axis=1), (table.sum(axis=1, keepdims=True) - table) / (groups - 1))
        assert of is not None
        assert of.variance >= max(of.variance_seeds, of.variance_groups)
        assert of.variance_seeds >= of.variance_rest
        assert of.df >= 1


def test_overlapping_splits_are_corrected_as_nadeau_and_bengio_do() -> None:
    of = estimate(GAINS, overlap=0.25)
    assert of is not None
    assert of.variance == pytest.approx(np.var(GAINS, ddof=1) * (1 / 5 + 0.25))
    assert of.df == 4


def test_the_interval_excludes_zero_just_where_p_is_below_the_level() -> None:
    random = np.random.default_rng(0)
    shown = 0
    for _ in range(500):
        number = int(random.integers(3, 12))
        gains = random.normal(random.choice([0.0, 1.0, 3.0]), 1.0, number)
        contrasts = int(random.integers(1, 10))
        of = estimate(gains)
        assert of is not None
        low, high = of.interval(joint_level(contrasts))
        assert (low > 0 or high < 0) == (adjust(of.p, contrasts) < SIGNIFICANT)
        shown += low > 0 or high < 0
    assert 100 < shown < 400  # both cases were tried


def test_max_t_is_less_strict_than_bonferroni_for_correlated_contrasts_and_equals_one() -> None:
    random = np.random.default_rng(1)
    common = random.normal(size=12)
    same = [estimate(common + 0.01 * random.normal(size=12)) for _ in range(5)]
    apart = [estimate(random.normal(size=12)) for _ in range(5)]
    for family, low, high in ((same, 0.035, 0.06), (apart, 0.009, 0.0135)):
        estimates = [each for each in family if each is not None]
        assert can_use_max_t(estimates)
        smallest = max_t(estimates, [None] * 5)
        level = joint_level(5, smallest)
        assert low < 1 - level < high  # 0.05 for one contrast, 1 − 0.95^(1/5) = 0.0102 for five
        for each in estimates:
            bounds = each.interval(level)
            is_outside = bounds[0] > 0 or bounds[1] < 0
            assert is_outside == (adjust(each.p, 5, smallest) < SIGNIFICANT)
    assert not can_use_max_t(same[:1])
    assert not can_use_max_t([estimate([1.0, 2.0, 4.0]), estimate([1.0, 3.0, 2.0])])


def test_equivalence_is_two_one_sided_tests() -> None:
    of = estimate(GAINS)
    assert of is not None
    expected = max(
        stats.ttest_1samp(GAINS, 10.0, alternative="less").pvalue,
        stats.ttest_1samp(GAINS, -10.0, alternative="greater").pvalue,
    )
    assert of.equivalence_p(10.0) == pytest.approx(expected)


def test_power_by_hand() -> None:
    """Gains of standard deviation 2: t quantiles at n − 1 degrees of freedom times 2 ÷ √n."""
    gains = np.array([-2.0, 2.0, 0.0, 2.0, -2.0])  # variance 4
    of = estimate(gains)
    assert of is not None
    planned = power(of, 1.0)
    at_five = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * 2 / 5**0.5
    assert planned.detectable == pytest.approx(at_five)
    assert planned.seeds is not None
    for seeds, is_enough in ((planned.seeds - 1, False), (planned.seeds, True)):
        distance = stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(0.8, seeds - 1)
        assert (distance * 2 / seeds**0.5 <= 1.0) == is_enough
    assert planned.limit < 0.001


def test_no_number_of_seeds_replaces_test_images() -> None:
    random = np.random.default_rng(0)
    groups = random.normal(0, 20, 40)
    table = groups + random.normal(0, 0.1, (5, 1)) + random.normal(0, 0.1, (5, 40))
    of = estimate(table.mean(axis=1), (table.sum(axis=1, keepdims=True) - table) / 39)
    assert of is not None
    planned = power(of, 2.0)
    assert planned.seeds is None
    assert planned.limit > 2.0
    assert planned.test_groups is not None
    assert planned.test_groups > 40


@pytest.mark.parametrize(
    "gains",
    [
        [2.0, 3.0],  # two seeds
        [2.0, 2.0, 2.0],
        [0.0, 0.0, 0.0, 0.0],
        [100 * (0.52 - 0.5), 100 * (0.62 - 0.6), 100 * (0.72 - 0.7)],  # equal but for rounding
    ],
)
def test_nothing_is_tested_below_three_seeds_or_without_variance(gains: list[float]) -> None:
    of = estimate(gains)
    assert of is not None
    assert not of.is_testable
    assert estimate([]) is None
    assert estimate([2.0]) is None


def test_swing_is_the_mean_change() -> None:
    assert swing([0.5, 0.7, 0.6]) == pytest.approx(0.15)
    assert swing([0.5]) is None
