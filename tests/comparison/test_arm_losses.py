"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rebalance_core.classifiers.losses import (
    adjust_probabilities,
    class_weights,
    focal,
    logit_adjusted,
    loss_function,
    weighted,
)

LN2, LN3 = math.log(2), math.log(3)
# Two images of two classes: p of the true class 1/2 and 3/4.
LOGITS = torch.tensor([[0.0, 0.0], [0.0, LN3]])
LABELS = torch.tensor([0, 1])


def test_focal_loss_by_hand() -> None:
    # (1 - 1/2)² · ln 2 and (1 - 3/4)² · ln(4/3), eq. 4 with γ = 2
    expected = (0.25 * LN2 + 0.0625 * math.log(4 / 3)) / 2
    assert focal(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-6)
    plain = F.cross_entropy(LOGITS, LABELS).item()
    assert focal(LOGITS, LABELS, focus=0.0).item() == pytest.approx(plain, rel=1e-6)


def test_logit_adjusted_loss_by_hand() -> None:
    # Priors 3/4 and 1/4: the odds of each image are multiplied by 3 : 1.
    counts = torch.tensor([30.0, 10.0])
    expected = (-math.log(3 / 4) - math.log(3 / (3 + 3))) / 2
    assert logit_adjusted(LOGITS, LABELS, counts).item() == pytest.approx(expected, rel=1e-6)
    even = torch.tensor([7.0, 7.0])
    plain = F.cross_entropy(LOGITS, LABELS).item()
    assert logit_adjusted(LOGITS, LABELS, even).item() == pytest.approx(plain, rel=1e-6)


def test_class_weighted_loss_by_hand() -> None:
    weights = class_weights(torch.tensor([30.0, 10.0, 0.0]))
    assert weights.tolist() == pytest.approx([40 / 90, 40 / 30, 0.0])
    two = class_weights(torch.tensor([30.0, 10.0]))
    assert two.tolist() == pytest.approx([2 / 3, 2.0])
    expected = (2 / 3 * LN2 + 2 * math.log(4 / 3)) / 2
    assert weighted(LOGITS, LABELS, two).item() == pytest.approx(expected, rel=1e-6)
    # A batch of one class is weighted too.
    alone = weighted(LOGITS[:1], LABELS[:1], two).item()
    assert alone == pytest.approx(2 / 3 * LN2, rel=1e-6)


def test_each_loss_is_found_by_its_name() -> None:
    device = torch.device("cpu")
    counts = [30, 10]
    losses = {
        name: loss_function(name, counts, device)(LOGITS, LABELS).item()
        for name in ("cross-entropy", "class-weighted", "focal", "logit-adjusted")
    }
    shown = torch.tensor([30.0, 10.0])
    assert losses == {
        "cross-entropy": F.cross_entropy(LOGITS, LABELS).item(),
        "class-weighted": weighted(LOGITS, LABELS, class_weights(shown)).item(),
        "focal": focal(LOGITS, LABELS).item(),
        "logit-adjusted": logit_adjusted(LOGITS, LABELS, shown).item(),
    }


def test_probabilities_adjusted_after_training_are_those_of_adjusted_logits() -> None:
    """Menon et al. 2021, section 4.1: argmax of logits less the log prior."""
    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(size=(50, 3)))
    counts = [80, 15, 5]
    adjusted = adjust_probabilities(logits.softmax(dim=1).numpy(), counts)
    expected = (logits - torch.tensor([0.8, 0.15, 0.05], dtype=torch.float64).log()).softmax(dim=1)
    assert adjusted == pytest.approx(expected.numpy(), rel=1e-5)
    assert adjust_probabilities(adjusted, [1, 1, 1]) == pytest.approx(adjusted, rel=1e-5)
