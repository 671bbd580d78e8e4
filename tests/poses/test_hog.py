"""The head is segmented, cropped and described independently of horizontal flips."""

import numpy as np
import pytest

from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.poses.extractors import EXTRACTORS
from rebalance_core.poses.foreground import foreground, normalized_head
from rebalance_core.poses.hog import hog_features


def disc(size: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_the_foreground_is_the_largest_bright_part_with_its_holes() -> None:
    head, hole, speck = disc(128, 60, 64, 40), disc(128, 60, 64, 15), disc(128, 8, 8, 4)
    image = np.where((head & ~hole) | speck, 200, 3).astype(np.uint8)
    mask = foreground(image)
    assert (mask == head).mean() > 0.97
    assert mask[60, 64], "the hole belongs to the head"
    assert not mask[8, 8], "the speck does not"


def test_a_gap_at_the_lower_edge_is_part_of_the_head() -> None:
    image = np.zeros((128, 128), np.uint8)
    image[20:, 30:40] = image[20:, 80:90] = image[20:40, 30:90] = 180  # an arch on the edge
    assert foreground(image)[100, 60]


def test_a_dark_image_is_all_foreground() -> None:
    assert foreground(np.zeros((32, 48), np.uint8)).all()
    assert not normalized_head(np.zeros((32, 48), np.uint8), 16).any()


def test_the_head_is_cropped_to_a_square_and_normalized() -> None:
    small, large = (
        np.where(disc(128, *place), value, 0).astype(np.uint8)
        for place, value in (((40, 40, 20), 60), ((64, 64, 60), 240))
    )
    difference = normalized_head(small, 64).astype(int) - normalized_head(large, 64)
    assert np.abs(difference).mean() < 12
    wide = np.zeros((128, 128), np.uint8)
    wide[50:70, 10:110] = 200
    rows = np.flatnonzero(normalized_head(wide, 64).any(axis=1))
    assert 12 <= len(rows) <= 16, "a part five times as wide as high stays so"


def test_an_image_and_its_mirror_image_have_the_same_features() -> None:
    images = draw_phantoms(np.arange(12) % 4, np.arange(12) // 4, size=128, seed=3)[..., None]
    original, mirrored = hog_features(images), hog_features(images[:, :, ::-1])
    assert original.shape == (12, EXTRACTORS["hog"].width)
    assert original.dtype == np.float32
    np.testing.assert_allclose(original, mirrored, atol=0.05)
    assert np.abs(original - mirrored).mean() < 1e-3
    assert np.abs(original[0] - original[4]).mean() > 0.03, "another pose is another thing"


def test_gray_and_colour_of_the_same_image_have_the_same_features() -> None:
    gray = draw_phantoms(np.zeros(2, int), np.arange(2), size=128)[..., None]
    np.testing.assert_allclose(hog_features(gray), hog_features(gray.repeat(3, axis=3)), atol=1e-6)


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_flat_image_has_features_of_zero(value: int) -> None:
    assert not hog_features(np.full((1, 128, 128, 1), value, np.uint8)).any()
