"""Which images an epoch shows, in which order."""

from typing import Any

import numpy as np

from rebalance_core.classifiers.recipe import Sampler
from rebalance_core.classifiers.schedules import Epoch
from rebalance_core.training.random import derive_seed


def epoch_order(real: int, synthetic: int, seed: int, epoch: int) -> np.ndarray:
    """Rows of one epoch: 0 … real - 1 are real, the rest synthetic.

    The real images come in the same order whatever is mixed in, so that arms are paired by seed.
    """
    order = np.random.default_rng([seed, 10, epoch]).permutation(real)
    if not synthetic:
        return order
    random = np.random.default_rng([seed, 11, epoch])
    mixed = np.empty(real + synthetic, dtype=np.int64)
    places = np.zeros(real + synthetic, dtype=bool)
    places[random.choice(real + synthetic, synthetic, replace=False)] = True
    mixed[~places] = order
    mixed[places] = real + random.permutation(synthetic)
    return mixed


def epoch_rows(
    labels: np.ndarray, real: int, shows: Epoch, sampler: Sampler, seed: int, epoch: int
) -> np.ndarray:
    """Rows of `labels` (the first `real` of them are of real images) that an epoch shows.

    In an epoch of synthetic images alone, classes to which none were added take part with their
    real ones: the classifier would unlearn them before it begins.
    """
    synthetic = 0 if shows == "real" else len(labels) - real
    rows = epoch_order(real, synthetic, seed, epoch)
    if shows == "synthetic":
        rows = rows[(rows >= real) | ~np.isin(labels[rows], labels[real:])]
    return rows if sampler == "as-is" else _resampled(rows, labels, sampler, seed, epoch)


def _resampled(
    rows: np.ndarray, labels: np.ndarray, sampler: Sampler, seed: int, epoch: int
) -> np.ndarray:
    """As many rows of each class as the most frequent has (over), or the rarest (under)."""
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    if len(np.unique(labels[rows])) < 2:
        return rows
    kind: Any = RandomOverSampler if sampler == "over" else RandomUnderSampler
    drawn = kind(random_state=derive_seed(seed, 13, epoch) % 2**32).fit_resample(
        rows[:, None], labels[rows]
    )[0][:, 0]
    mixed: np.ndarray = np.random.default_rng([seed, 14, epoch]).permutation(drawn)
    return mixed
