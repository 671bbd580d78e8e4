"""Losses, learning rates and batches against values computed by hand."""

import math

import numpy as np
import pytest
import torch

from models.bagan_gp import Discriminator
from rebalance_core.generators.bagan_gp.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from rebalance_core.training.batches import batch_indices, steps_per_epoch, to_float, to_uint8
from rebalance_core.training.rates import warmup_cosine


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bagan_losses_of_two_images() -> None:
    real, wrong, fake = (torch.tensor(v) for v in ([1.0, -1.0], [0.0, 2.0], [0.5, -3.0]))
    by_hand = (
        (softplus(-1.0) + softplus(1.0)) / 2
        + (softplus(0.0) + softplus(2.0)) / 2
        + (softplus(0.5) + softplus(-3.0)) / 2
    )
    assert discriminator_loss(real, wrong, fake).item() == pytest.approx(by_hand, rel=1e-6)
    expected = (softplus(-0.5) + softplus(3.0)) / 2
    assert generator_loss(fake).item() == pytest.approx(expected, rel=1e-6)


class LinearDiscriminator(Discriminator):
    """A linear discriminator w · x, whose gradient has the norm ‖w‖."""

    def __init__(self, weight: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(weight)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (images * self.weight).sum(dim=(1, 2, 3))


def test_gradient_penalty_is_the_squared_distance_of_the_gradient_norm_from_one() -> None:
    weight = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    discriminator = LinearDiscriminator(weight)
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    labels = torch.tensor([0, 1])
    penalty = gradient_penalty(discriminator, real, fake, labels, torch.rand(2, 1, 1, 1))
    assert penalty.value.item() == pytest.approx((5 - 1) ** 2)
    assert penalty.norm.item() == pytest.approx(5)
    penalty.value.backward()
    # d/dw (‖w‖ - 1)² = 2 (‖w‖ - 1) w / ‖w‖
    assert torch.allclose(discriminator.weight.grad, 2 * 4 * weight / 5)


def test_warmup_then_cosine() -> None:
    assert [warmup_cosine(s, 4, 12) for s in (0, 2, 4, 8, 12)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0], abs=1e-12
    )


def test_an_epoch_visits_every_image_once() -> None:
    assert steps_per_epoch(10, 4) == 3
    for epoch in range(2):
        indices = np.concatenate([batch_indices(10, 4, 3 * epoch + s, 7) for s in range(3)])
        assert sorted(indices) == list(range(10))
    assert not np.array_equal(batch_indices(10, 10, 0, 7), batch_indices(10, 10, 1, 7))
    assert [len(batch_indices(9, 4, s, 7)) for s in range(3)] == [4, 4, 2]


def test_pixels_survive_the_conversion_to_floats_and_back() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = to_float(images)
    assert (floats.min().item(), floats.max().item(), floats.shape) == (-1.0, 1.0, (1, 1, 16, 16))
    assert np.array_equal(to_uint8(floats), images)
