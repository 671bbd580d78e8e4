"""Statistics over seeds and test images: intervals, tests, their correction, power, equivalence.

One model serves interval and p. A score is the sum of an effect of the seed, one of the group of
test images (a patient or group of copies), and the rest; the variance of its mean is that over
seeds plus that over groups (by the jackknife), less that of the rest, which both contain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SIGNIFICANT = 0.05  # level of the corrected p
LEVEL = 1 - SIGNIFICANT
POWER = 0.8  # of the differences that are called detectable
FEWEST_SEEDS = 3  # needed for a test
MANY_SEEDS = 10  # from which several contrasts are corrected by single-step max-t
MOST_SEEDS = 1000  # that a power calculation proposes
# Points. Standard deviations up to this are rounding errors of equal values: scores computed in
# float32 differ by 1e-5 points, one image in 100,000 changes them by 1e-3.
SPREAD = 1e-4
DRAWS = 20_000  # of the null distribution of max-t
Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """The mean of a score or difference over seeds, and the parts of its variance.

    `variance_seeds` and `variance_groups` each contain `variance_rest`. Where every seed has its
    own test images, `variance_groups` is 0 and `variance_seeds` corrected for their overlap.
    """

    values: tuple[float, ...]  # one per seed
    variance_seeds: float
    variance_groups: float
    variance_rest: float
    groups: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def seeds(self) -> int:
        return len(self.values)

    @property
    def variance(self) -> float:
        """Of the mean; never below the larger of the two parts."""
        parts = self.variance_seeds, self.variance_groups
        return max(*parts, sum(parts) - self.variance_rest)

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(self.variance))

    @cached_property
    def df(self) -> float:
        """Degrees of freedom by Satterthwaite (Biometrics Bulletin 1946)."""
        seeds, groups = self.seeds - 1, max(1, self.groups - 1)
        parts = (
            self.variance_seeds**2 / seeds
            + self.variance_groups**2 / groups
            + self.variance_rest**2 / (seeds * groups)
        )
        return max(1.0, self.variance**2 / parts) if parts else float(seeds)

    @property
    def is_testable(self) -> bool:
        """Whether a test is defined: at least `FEWEST_SEEDS` values that are not all equal."""
        return self.seeds >= FEWEST_SEEDS and float(np.std(self.values, ddof=1)) > SPREAD

    def interval(self, level: float = LEVEL) -> Interval:
        """The two-sided confidence interval of the mean."""
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that the mean is zero."""
        from scipy.stats import t

        return float(2 * t.sf(abs(self.mean) / self.standard_error, self.df))

    def equivalence_p(self, margin: float) -> float:
        """Of two one-sided tests that the mean is within ± `margin` (Schuirmann 1987)."""
        from scipy.stats import t

        distances = np.array([margin - self.mean, margin + self.mean]) / self.standard_error
        return float(t.sf(distances, self.df).max())


def estimate(
    values: Sequence[float], left_out: np.ndarray | None = None, overlap: float | None = None
) -> Estimate | None:
    """The mean of `values`, one per seed, with the parts of its variance; None below two seeds.

    `left_out`: (seeds, groups), the value without each group of test images. `overlap`: test images
    per training image, where each seed has a split of its own; the variance over seeds is then
    corrected for their shared images (Nadeau and Bengio 2003, Machine Learning 52).
    """
    scores = np.asarray(values, dtype=float)
    seeds = len(scores)
    if seeds < 2:
        return None
    between = float(np.var(scores, ddof=1))
    if overlap is not None:
        return Estimate(tuple(scores.tolist()), between * (1 / seeds + overlap), 0.0, 0.0, 0)
    groups, variance_groups, variance_rest = 0, 0.0, 0.0
    if left_out is not None and left_out.shape[1] > 1:
        groups = left_out.shape[1]
        pseudo = groups * scores[:, None] - (groups - 1) * left_out
        of_groups = pseudo.mean(axis=0)
        rest = pseudo - pseudo.mean(axis=1, keepdims=True) - of_groups + pseudo.mean()
        variance_groups = float(np.var(of_groups, ddof=1)) / groups
        variance_rest = float((rest**2).sum()) / ((seeds - 1) * (groups - 1) * seeds * groups)
    # The variance over seeds contains the rest, and is not estimated below it.
    of_seeds = max(between / seeds, variance_rest)
    return Estimate(tuple(scores.tolist()), of_seeds, variance_groups, variance_rest, groups)


def joint_level(contrasts: int, smallest: np.ndarray | None = None) -> float:
    """The level of one interval such that those of all `contrasts` hold together with 95 %.

    By Bonferroni, or by `smallest`, the draws of `max_t`.
    """
    bonferroni = 1 - SIGNIFICANT / max(1, contrasts)
    if smallest is None:
        return bonferroni
    return min(bonferroni, 1 - float(smallest[int(SIGNIFICANT * len(smallest)) - 1]))


def can_use_max_t(estimates: Sequence[Estimate]) -> bool:
    """Whether there are several contrasts, with the same, sufficient number of seeds."""
    return (
        len(estimates) > 1
        and len({each.seeds for each in estimates}) == 1
        and estimates[0].seeds >= MANY_SEEDS
        and len({each.groups for each in estimates}) == 1
    )


def max_t(estimates: Sequence[Estimate], left_out: Sequence[np.ndarray | None]) -> np.ndarray:
    """The smallest p of all contrasts in draws of the null hypothesis, sorted, (DRAWS,).

    Multivariate t with the contrasts' correlation and each contrast's degrees of freedom.
    """
    from scipy.stats import chi2, t

    rng = np.random.default_rng(len(estimates))
    covariance = _covariance(estimates, left_out)
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.maximum(np.outer(scale, scale), 1e-300)
    np.fill_diagonal(correlation, 1.0)
    normal = rng.multivariate_normal(np.zeros(len(estimates)), correlation, DRAWS, method="eigh")
    uniform = rng.uniform(size=(DRAWS, 1))
    values = np.empty_like(normal)
    for k, each in enumerate(estimates):
        values[:, k : k + 1] = normal[:, k : k + 1] / np.sqrt(chi2.ppf(uniform, each.df) / each.df)
    dfs = np.array([each.df for each in estimates])
    p_values = np.asarray(2 * t.sf(np.abs(values), dfs))
    return np.sort(np.asarray(p_values.min(axis=1)))


def _covariance(estimates: Sequence[Estimate], left_out: Sequence[np.ndarray | None]) -> np.ndarray:
    """Of the means of the contrasts over seeds and groups, (m, m)."""
    values = np.array([each.values for each in estimates])
    covariance = np.atleast_2d(np.cov(values)) / values.shape[1]
    if all(each is not None and each.shape[1] > 1 for each in left_out):
        means = np.array([each.mean(axis=0) for each in left_out if each is not None])
        groups = means.shape[1]
        covariance = covariance + np.atleast_2d(np.cov(means)) * (groups - 1) ** 2 / groups
    return np.asarray(covariance)


def adjust(p: float, contrasts: int, smallest: np.ndarray | None = None) -> float:
    """A p corrected for all `contrasts`, by Bonferroni or by `smallest`, the draws of `max_t`."""
    bonferroni = min(1.0, max(1, contrasts) * p)
    if smallest is None:
        return bonferroni
    return min(bonferroni, float(np.searchsorted(smallest, p, side="right")) / len(smallest))


def interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The t-interval of the mean over seeds alone; None for fewer than two values."""
    of = estimate(values)
    return None if of is None else of.interval(level)


@dataclass(frozen=True)
class Power:
    """What a comparison could have shown, in points, with 80 % probability.

    `detectable`: the smallest difference with its seeds; `limit`: with any number of seeds on its
    test images; `seeds`: needed for `margin`, None where no number suffices; `test_groups`: the
    groups of test images that `margin` then needs with the present seeds.
    """

    margin: float
    detectable: float
    limit: float
    seeds: int | None
    test_groups: int | None


def power(of: Estimate, margin: float, level: float = LEVEL) -> Power:
    """Plan further seeds and test images from the parts of an estimate's variance."""
    seeds, rest = of.seeds, of.variance_rest
    between = seeds * max(0.0, of.variance_seeds - rest)
    groups = max(0.0, of.variance_groups - rest)
    rest *= seeds

    def detectable(number: float, share: float) -> float:
        """With `number` seeds and `share` times the test images."""
        variance = between / number + groups / share + rest / (number * share)
        return _distance(level, max(2.0, number - 1)) * float(np.sqrt(variance))

    limit = detectable(1e9, 1.0)
    needed = next((n for n in range(2, MOST_SEEDS + 1) if detectable(n, 1.0) <= margin), None)
    more = None
    if needed is None and of.groups:
        shares = np.geomspace(1, 1000, 400)
        found = next((s for s in shares if detectable(seeds, s) <= margin), None)
        more = None if found is None else int(np.ceil(found * of.groups))
    return Power(margin, detectable(seeds, 1.0), limit, needed, more)


def _distance(level: float, df: float) -> float:
    """Standard errors between zero and a difference that is found with probability `POWER`."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df) + t.ppf(POWER, df))


def swing(values: Sequence[float]) -> float | None:
    """Mean absolute change from one epoch to the next; None for a single epoch."""
    return None if len(values) < 2 else float(np.abs(np.diff(values)).mean())
