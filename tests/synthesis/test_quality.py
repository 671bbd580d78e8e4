"""Metrics of generated images against values computed by hand, and a trained scorer."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.synthesis.quality import (
    Neighbourhoods,
    frechet_distance,
    frechet_from_features,
    has_near_duplicate,
    is_near_copy,
    kernel_distance,
    neighbourhoods,
    principal_components,
    repeats_earlier,
)
from rebalance_core.training_sets.load import Images

ALL = tuple(range(8))  # symmetries


def line(*places: float) -> np.ndarray:
    return np.array(places, dtype=np.float64)[:, None]


def test_neighbourhoods_of_points_on_a_line() -> None:
    # radii of the real points: 1, 1, 9; of the generated ones: 29.5, 1, 1
    result = neighbourhoods(line(0, 1, 10), line(0.5, 30, 31), neighbours=1)
    assert result == Neighbourhoods(
        precision=pytest.approx(1 / 3),  # 0.5 lies within 0's and 1's balls, 30 and 31 in none
        recall=1.0,  # all real points lie within the ball of 0.5
        density=pytest.approx(2 / 3),
        coverage=pytest.approx(2 / 3),  # no generated point in the ball of 10
    )


def test_neighbourhoods_of_the_same_points_elsewhere_and_of_one_mode() -> None:
    points = np.random.default_rng(0).normal(size=(60, 8))
    same = neighbourhoods(points, points)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)
    far = neighbourhoods(points, points + 100)
    assert far == Neighbourhoods(0.0, 0.0, 0.0, 0.0)
    memorised = neighbourhoods(points, points[:1] + np.zeros((60, 1)))
    assert memorised.precision == 1.0
    assert memorised.coverage < 0.3, "one image again and again covers little"


def test_near_copies_are_distinguished_from_other_images_of_the_class() -> None:
    real = draw_phantoms(np.zeros(30, int), np.arange(30) % 3, size=64, seed=0)[..., None]
    other = draw_phantoms(np.zeros(30, int), np.arange(30) % 3, size=64, seed=1)[..., None]
    brighter = np.clip(real[:4] * 0.9 + 12, 0, 255).astype(np.uint8)
    result = is_near_copy(np.concatenate([brighter, other]), real, ALL)
    assert result.tolist() == [True] * 4 + [False] * 30


def test_the_scorer_trains_on_the_real_images_only() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = (random.integers(0, 90, (60, 16, 16, 1)) + 160 * labels[:, None, None, None]).astype(
        np.uint8
    )
    real = Images(images, labels, tuple(map(str, labels)))
    config = ClassifierConfig(size=16, epochs=10, lr=0.01, batch_size=6, precision="fp32")
    scorer = train_scorer(config, real, ("dark", "bright"), seed=0)
    probabilities, features = scorer(images)
    assert (probabilities.argmax(1) == labels).mean() > 0.9
    assert probabilities.sum(1) == pytest.approx(np.ones(60), abs=1e-5)
    assert features.shape == (60, 512)
    # the features are those that the prediction comes from
    head = scorer.model.network.fc
    with torch.no_grad():
        again = head(torch.as_tensor(features)).softmax(1).numpy()
    assert np.allclose(again, probabilities, atol=1e-6)
    same = train_scorer(config, real, ("dark", "bright"), seed=0)
    assert np.array_equal(same(images)[0], probabilities)


def test_frechet_distance_of_two_gaussians_is_the_formula() -> None:
    # diagonal: |μ - μ'|² + Σ (σ - σ')²
    mean, other = np.array([0.0, 1.0, -2.0]), np.array([3.0, 1.0, 2.0])
    deviations, others = np.array([1.0, 2.0, 0.5]), np.array([4.0, 2.0, 1.5])
    expected = 9 + 0 + 16 + 9 + 0 + 1
    result = frechet_distance(mean, np.diag(deviations**2), other, np.diag(others**2))
    assert result == pytest.approx(expected)
    # in general: with the matrix square root, as it is written
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 5, 5))
    first, second = a @ a.T, b @ b.T
    root = sqrtm(first @ second).real
    expected = np.trace(first + second - 2 * root)
    zero = np.zeros(5)
    assert frechet_distance(zero, first, zero, second) == pytest.approx(expected)
    assert frechet_distance(zero, first, zero, first) == pytest.approx(0.0, abs=1e-6)


def test_frechet_distance_of_features_takes_their_means_and_covariances() -> None:
    some = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    assert frechet_from_features(some, some + np.array([3.0, 4.0])) == pytest.approx(25.0)
    assert frechet_from_features(some[:, :1], 2 * some[:, :1]) == pytest.approx(
        1 + 4 / 3
    )  # σ² = 4/3


def test_kernel_distance_is_the_formula_and_unbiased() -> None:
    # one dimension: (xy + 1)³
    some, others = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    within = 1.0  # k(0, 1) = 1, twice, over 2 pairs
    across = (1 + 1 + 27 + 64) / 4
    assert kernel_distance(some, others) == pytest.approx(within + 343 - 2 * across)
    random = np.random.default_rng(0)
    result = [kernel_distance(*random.normal(size=(2, 40, 4))) for _ in range(200)]
    # around 0, and half of them below it: a biased estimate would lie above
    assert abs(np.mean(result)) < 3 * np.std(result) / np.sqrt(200)
    assert 0.3 < np.mean(np.array(result) < 0) < 0.75


def test_principal_components_have_the_largest_variance() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(50, 3)) * [5.0, 1.0, 0.01]
    projected = principal_components(real, 2)(real)
    assert projected.shape == (50, 2)
    variances = np.linalg.eigvalsh(np.cov(real.T))[:0:-1]
    assert projected.var(axis=0, ddof=1) == pytest.approx(variances)
    assert principal_components(real[:2], 32)(real).shape == (50, 2)


@pytest.mark.parametrize(
    ("measure", "near_copies"),
    [(repeats_earlier, [3, 5]), (has_near_duplicate, [1, 3, 5])],
    ids=["twins are the later ones", "doubled are all of them"],
)
def test_near_copies_of_each_other(
    measure: Callable[[np.ndarray, tuple[int, ...]], np.ndarray], near_copies: list[int]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 1), dtype=np.uint8)
    images[[3, 5]] = images[1]
    assert np.flatnonzero(measure(images, ALL)).tolist() == near_copies


def test_frechet_distance_is_the_same_in_more_dimensions_than_there_are_images() -> None:
    random = np.random.default_rng(0)
    some, others = random.normal(size=(2, 20, 3))
    turn = np.linalg.qr(random.normal(size=(100, 3)))[0].T  # (3, 100), orthonormal rows
    expected = frechet_from_features(some, others + 1)
    assert frechet_from_features(some @ turn, (others + 1) @ turn) == pytest.approx(expected)


def test_all_copies_of_a_collapsed_generator_are_found() -> None:
    """Hundreds of similar images must not crowd out the training image that they copy."""
    real = draw_phantoms(np.zeros(12, int), np.arange(12) % 3, size=64, seed=0)[..., None]
    noise = np.random.default_rng(0).integers(-6, 7, (300, 64, 64, 1))
    generated = np.clip(real[:1].astype(int) + noise, 0, 255).astype(np.uint8)
    assert is_near_copy(generated, real, ALL).all()
    assert np.flatnonzero(~repeats_earlier(generated, ALL)).tolist() == [0], (
        "the first is kept, and no other"
    )


def test_empty_arrays_have_no_near_copies() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    assert is_near_copy(images, images[:0], ALL).tolist() == [False] * 3
    assert is_near_copy(images[:0], images, ALL).tolist() == []
    assert repeats_earlier(images[:1], ALL).tolist() == [False]
    assert has_near_duplicate(images[:1], ALL).tolist() == [False]
