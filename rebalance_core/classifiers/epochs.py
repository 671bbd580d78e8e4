"""The images of an epoch, and their order."""

from typing import Any

import numpy as np

from rebalance_core.classifiers.recipe import Sampler
from rebalance_core.classifiers.schedules import Epoch
from rebalance_core.training.random import derive_seed


def epoch_order(real: int, synthetic: int, seed: int, epoch: int) -> np.ndarray:
    """Shuffled rows of one epoch, int64 (real + synthetic,): rows below `real` are real images.

    The real images have the same order with any number of synthetic ones, so that arms are paired
    by seed.
    """
    order = np.random.default_rng([seed, 10, epoch]).permutation(real)
    if not synthetic:
        return order
    random = np.random.default_rng([seed, 11, epoch])
    mixed = np.empty(real + synthetic, dtype=np.int64)
    is_synthetic = np.zeros(real + synthetic, dtype=bool)
    is_synthetic[random.choice(real + synthetic, synthetic, replace=False)] = True
    mixed[~is_synthetic] = order
    mixed[is_synthetic] = real + random.permutation(synthetic)
    return mixed


def epoch_rows(
    labels: np.ndarray, real: int, shows: Epoch, sampler: Sampler, seed: int, epoch: int
) -> np.ndarray:
    """Rows of `labels` in an epoch, of which the first `real` are real images.

    A synthetic epoch also contains the real images of classes without synthetic ones, which the
    classifier would forget otherwise.
    """
    synthetic = 0 if shows == "real" else len(labels) - real
    rows = epoch_order(real, synthetic, seed, epoch)
    if shows == "synthetic":
        rows = rows[(rows >= real) | ~np.isin(labels[rows], labels[real:])]
    return rows if sampler == "as-is" else _resampled(rows, labels, sampler, seed, epoch)


def _resampled(
    rows: np.ndarray, labels: np.ndarray, sampler: Sampler, seed: int, epoch: int
) -> np.ndarray:
    """Rows resampled to the count of the largest class (over) or of the smallest (under)."""
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    if len(np.unique(labels[rows])) < 2:
        return rows
    sampler_class: Any = RandomOverSampler if sampler == "over" else RandomUnderSampler
    resampled = sampler_class(random_state=derive_seed(seed, 13, epoch) % 2**32).fit_resample(
        rows[:, None], labels[rows]
    )[0][:, 0]
    mixed: np.ndarray = np.random.default_rng([seed, 14, epoch]).permutation(resampled)
    return mixed
