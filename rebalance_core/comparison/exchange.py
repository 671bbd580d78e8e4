"""The exchange rate: how many real images the images of an arm are worth.

The learning curve is that of the controls `returned:k`, which give withheld real images back: its
points are made monotone (isotonic regression) and joined by lines over the logarithm of the number
of training images. An arm is worth m real images where its score equals the curve at m, and the
interval contains every m at which the difference is not significant, by the same model of seeds
and test images as all other intervals. Nothing is extrapolated.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.records import ExchangeRate, Row
from rebalance_core.comparison.scores import ArmScores
from rebalance_core.training_sets.resolve import TrainingSet

GRID = 201  # numbers of real images that are tried, evenly spaced on the curve
Scores = Mapping[str, ArmScores]  # by the name of a row


def exchange_rates(
    rows: Sequence[Row], scores: Scores, training_set: TrainingSet
) -> list[ExchangeRate]:
    """The rate of each row that adds images, by the curve of the rows with the same recipe.

    Rows without such a curve (an arm without added images and a `returned:k`) are left out.
    """
    own = sum(training_set.counts[label] for label in training_set.minority)
    rates = []
    for row in rows:
        arm = Arm.parse(row.arm)
        if arm.has_only_real_images:
            continue
        curve = {
            sum(other.added.values()): scores[other.name]
            for other in rows
            if (real := Arm.parse(other.arm)).has_only_real_images and real.recipe == arm.recipe
        }
        if 0 not in curve or len(curve) < 2:
            continue
        if (rate := exchange_rate(scores[row.name], curve, own)) is not None:
            worth, interval = rate
            rates.append(
                ExchangeRate(
                    name=row.name,
                    added=sum(row.added.values()),
                    real=worth,
                    interval=interval and list(interval),
                    most=max(curve),
                )
            )
    return rates


def exchange_rate(
    arm: ArmScores, curve: Mapping[int, ArmScores], own: int
) -> tuple[float, tuple[float, float] | None] | None:
    """The real images that an arm is worth, and their 95 % interval; None without a common seed.

    `curve`: scores by the number of real images given back, with 0; `own`: rare images there
    were. The interval is None where no difference can be tested.
    """
    numbers = sorted(curve)
    seeds = set(arm.by_seed).intersection(*(curve[n].by_seed for n in numbers))
    if not seeds:
        return None
    arm = _at(arm, seeds)
    monotone = _monotone([_at(curve[n], seeds) for n in numbers])
    positions = np.log2(1 + np.array(numbers) / own)
    grid = np.linspace(0, positions[-1], GRID)
    images = own * (2**grid - 1)
    # interpolation is linear in the points: the share of each at each number
    shares = np.stack([np.interp(grid, positions, unit) for unit in np.eye(len(numbers))], axis=1)
    above: list[bool] = []
    plausible: list[bool | None] = []
    for weights in shares.tolist():
        terms = [point.weighted(w) for point, w in zip(monotone, weights, strict=True) if w]
        point = reduce(ArmScores.plus, terms)
        differences = arm.differences(point)
        above.append(float(np.mean(differences)) > 0)
        estimate = arm.compare(point)
        if estimate is None or not estimate.is_testable:
            plausible.append(None)
        else:
            low, high = estimate.interval()
            plausible.append(low <= 0 <= high)
    # The curve rises, so the arm is above its first part.
    real = images[sum(above) - 1] if any(above) else 0.0
    return float(real), _range(images, plausible, above)


def _range(
    images: np.ndarray, plausible: Sequence[bool | None], above: Sequence[bool]
) -> tuple[float, float] | None:
    """The numbers tried next below and above the plausible ones, so that none is left out.

    An end of the curve where none is plausible.
    """
    if None in plausible:
        return None
    chosen = np.flatnonzero(np.array(plausible, bool))
    if not len(chosen):  # worse than without added images, or better than with all real ones
        end = float(images[sum(above) - 1]) if any(above) else 0.0
        return end, end
    last = len(images) - 1
    return float(images[max(chosen[0] - 1, 0)]), float(images[min(chosen[-1] + 1, last)])


def _at(scores: ArmScores, seeds: set[int]) -> ArmScores:
    kept = {seed: score for seed, score in scores.by_seed.items() if seed in seeds}
    return ArmScores(kept, scores.overlap)


def _monotone(points: Sequence[ArmScores]) -> list[ArmScores]:
    """The points of a learning curve; neighbours whose means fall are replaced by their mean.

    The pools are those of isotonic regression on the means over seeds, applied to every seed.
    """
    from sklearn.isotonic import IsotonicRegression

    means = [float(np.mean([s.value for s in point.by_seed.values()])) for point in points]
    fitted = IsotonicRegression().fit_transform(np.arange(len(means)), means)
    pools = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    made = []
    for pool in pools:
        members = [point for point, of in zip(points, pools, strict=True) if of == pool]
        made.append(reduce(ArmScores.plus, [m.weighted(1 / len(members)) for m in members]))
    return made
