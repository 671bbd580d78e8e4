"""The images of an epoch, their order and their augmentation."""

from collections import Counter

import numpy as np
import torch

from rebalance_core.classifiers.augmentation import augment_scans
from rebalance_core.classifiers.epochs import epoch_order, epoch_rows
from rebalance_core.classifiers.recipe import Sampler
from rebalance_core.classifiers.schedules import Epoch

# 40 real images of class 0, 6 of 1, 4 of 2; then 10 synthetic ones of each of 1 and 2.
LABELS = np.array([0] * 40 + [1] * 6 + [2] * 4 + [1] * 10 + [2] * 10)
REAL = 50


def shown(shows: Epoch, sampler: Sampler, seed: int = 3, epoch: int = 2) -> np.ndarray:
    return epoch_rows(LABELS, REAL, shows, sampler, seed, epoch)


def counts(rows: np.ndarray) -> dict[int, int]:
    return dict(Counter(LABELS[rows].tolist()))


def test_arms_of_one_seed_see_the_same_real_images_in_the_same_order() -> None:
    plain = epoch_order(50, 0, seed=3, epoch=2)
    mixed = epoch_order(50, 20, seed=3, epoch=2)
    assert sorted(plain) == list(range(50))
    assert sorted(mixed) == list(range(70))
    assert np.array_equal(mixed[mixed < 50], plain)
    assert not np.array_equal(plain, epoch_order(50, 0, seed=3, epoch=3))
    both, real = shown("both", "as-is"), shown("real", "as-is")
    assert np.array_equal(both[both < REAL], real)
    assert np.array_equal(real, plain)


def test_an_epoch_shows_the_images_of_its_schedule() -> None:
    assert counts(shown("both", "as-is")) == {0: 40, 1: 16, 2: 14}
    assert counts(shown("real", "as-is")) == {0: 40, 1: 6, 2: 4}
    synthetic = shown("synthetic", "as-is")
    assert counts(synthetic) == {0: 40, 1: 10, 2: 10}  # class 0 has no synthetic images
    assert all(row >= REAL for row in synthetic[LABELS[synthetic] != 0])


def test_samplers_balance_what_the_epoch_shows() -> None:
    over = shown("both", "over")
    assert counts(over) == {0: 40, 1: 40, 2: 40}
    assert set(over) == set(range(70))  # nothing is left out
    under = shown("both", "under")
    assert counts(under) == {0: 14, 1: 14, 2: 14}
    assert len(set(under)) == len(under)  # no duplicates
    assert counts(shown("real", "over")) == {0: 40, 1: 40, 2: 40}
    assert not np.array_equal(under, shown("both", "under", epoch=3))
    assert np.array_equal(under, shown("both", "under"))


def test_augmentation_keeps_shape_range_and_black_and_depends_on_its_draw_alone() -> None:
    images = torch.full((4, 1, 16, 16), -1.0)
    images[:, :, 5:11, 3:9] = 0.5

    def drawn(seed: int) -> torch.Tensor:
        return augment_scans(images, torch.Generator().manual_seed(seed))

    first = drawn(0)
    assert first.shape == images.shape
    assert first.min() >= -1 and first.max() <= 1
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first, drawn(1))
    assert not torch.equal(first[0], first[1])
    black = torch.full((4, 1, 8, 8), -1.0)
    assert torch.allclose(augment_scans(black, torch.Generator()), black, atol=1e-5)


def test_half_of_the_images_are_mirrored() -> None:
    left = torch.full((400, 1, 16, 16), -1.0)
    left[..., :5] = 1.0
    moved = augment_scans(left, torch.Generator().manual_seed(0))
    mirrored = (moved[..., 8:].mean((1, 2, 3)) > moved[..., :8].mean((1, 2, 3))).float().mean()
    assert 0.4 < mirrored < 0.6
