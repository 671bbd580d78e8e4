"""The images of an epoch, and their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rebalance_core.classifiers.recipe import Sampler
from rebalance_core.classifiers.schedules import Epoch
from rebalance_core.training.random import derive_seed


def balanced_steps(counts: Sequence[int], batch_size: int) -> int:
    """Updates of one epoch in which every class has as many images as the largest of `counts`."""
    return -(-max(counts) * len(counts) // batch_size)


def period_rows(
    labels: np.ndarray,
    real: int,
    shows: Epoch,
    sampler: Sampler,
    seed: int,
    epoch: int,
    count: int | None = None,
) -> np.ndarray:
    """Rows from one evaluation to the next: of an epoch, or `count` of as many as are needed."""
    passes = [epoch_rows(labels, real, shows, sampler, seed, epoch)]
    if count is None:
        return passes[0]
    while sum(map(len, passes)) < count:
        key = epoch, len(passes)
        passes.append(epoch_rows(labels, real, shows, sampler, seed, *key))
    return np.concatenate(passes)[:count]


def epoch_order(
    real: int, synthetic: int, seed: int, epoch: int, repetition: int = 0
) -> np.ndarray:
    """Shuffled rows of one epoch, int64 (real + synthetic,): rows below `real` are real images.

    The real images have the same order with any number of synthetic ones, so that arms are paired
    by seed. Each `repetition` of an epoch has an order of its own.
    """
    key = _key(epoch, repetition)
    order = np.random.default_rng([seed, 10, *key]).permutation(real)
    if not synthetic:
        return order
    random = np.random.default_rng([seed, 11, *key])
    mixed = np.empty(real + synthetic, dtype=np.int64)
    is_synthetic = np.zeros(real + synthetic, dtype=bool)
    is_synthetic[random.choice(real + synthetic, synthetic, replace=False)] = True
    mixed[~is_synthetic] = order
    mixed[is_synthetic] = real + random.permutation(synthetic)
    return mixed


def epoch_rows(
    labels: np.ndarray,
    real: int,
    shows: Epoch,
    sampler: Sampler,
    seed: int,
    epoch: int,
    repetition: int = 0,
) -> np.ndarray:
    """Rows of `labels` in an epoch, of which the first `real` are real images.

    A synthetic epoch also contains the real images of classes without synthetic ones, which the
    classifier would forget otherwise.
    """
    synthetic = 0 if shows == "real" else len(labels) - real
    rows = epoch_order(real, synthetic, seed, epoch, repetition)
    if shows == "synthetic":
        rows = rows[(rows >= real) | ~np.isin(labels[rows], labels[real:])]
    if sampler == "as-is":
        return rows
    return _resampled(rows, labels, sampler, seed, _key(epoch, repetition))


def _key(epoch: int, repetition: int) -> tuple[int, ...]:
    return (epoch, repetition) if repetition else (epoch,)


def _resampled(
    rows: np.ndarray, labels: np.ndarray, sampler: Sampler, seed: int, key: tuple[int, ...]
) -> np.ndarray:
    """Rows resampled to the count of the largest class (over) or of the smallest (under)."""
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    if len(np.unique(labels[rows])) < 2:
        return rows
    sampler_class: Any = RandomOverSampler if sampler == "over" else RandomUnderSampler
    resampled = sampler_class(random_state=derive_seed(seed, 13, *key) % 2**32).fit_resample(
        rows[:, None], labels[rows]
    )[0][:, 0]
    mixed: np.ndarray = np.random.default_rng([seed, 14, *key]).permutation(resampled)
    return mixed
