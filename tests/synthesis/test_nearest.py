"""Which training image is nearest to a generated one, and how far."""

import numpy as np

from rebalance_core.imaging.distances import nearest_images


def stack(*images: list[list[int]]) -> np.ndarray:
    return np.array(images, dtype=np.uint8)[..., None]


REAL = stack([[0, 0], [0, 0]], [[100, 100], [100, 100]], [[255, 0], [0, 255]])


def test_rows_and_distances_are_exact() -> None:
    generated = stack(
        [[255, 0], [0, 255]],  # a copy
        [[10, 10], [10, 10]],  # 10 off everywhere
        [[100, 100], [100, 120]],  # 20 off in one pixel of four: √(400 ÷ 4)
        [[49, 49], [49, 49]],
        [[51, 51], [51, 51]],
    )
    rows, distances = nearest_images(generated, REAL)
    assert rows.tolist() == [2, 0, 1, 0, 1]
    assert distances.tolist() == [0.0, 10.0, 10.0, 49.0, 49.0]


def test_colour_counts_every_channel() -> None:
    real = np.zeros((1, 2, 2, 3), np.uint8)
    generated = real.copy()
    generated[..., 0] = 30
    rows, distances = nearest_images(generated, real)
    assert (rows.tolist(), distances.tolist()) == ([0], [np.float32(np.sqrt(300)).item()])


def test_bytes_do_not_wrap_around() -> None:
    rows, distances = nearest_images(stack([[255, 255], [255, 255]]), REAL)
    assert (rows.tolist(), distances.tolist()) == ([1], [155.0])


def test_ties_give_the_first_image() -> None:
    rows, _ = nearest_images(REAL[:1], np.concatenate([REAL[1:], REAL[:1], REAL[:1]]))
    assert rows.tolist() == [2]


def test_a_copy_among_large_bright_images_lies_at_zero() -> None:
    """Sums of squares near 10⁹ must not swallow small differences."""
    real = np.random.default_rng(0).integers(200, 256, (3, 128, 128, 3), dtype=np.uint8)
    real[1] = real[0]
    real[1, 0, 0, 0] ^= 1  # one level off in one of 49,152 values
    generated = real[[1, 0, 2]]
    rows, distances = nearest_images(generated, real)
    assert distances.tolist() == [0.0, 0.0, 0.0]
    assert rows.tolist() == [1, 0, 2]
