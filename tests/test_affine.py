"""Affine warps: exact pixels, and the augmentations based on them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rebalance_core.classifiers.augmentation import augment_scans
from rebalance_core.generators.bagan_gp.augmentation import diff_augment
from rebalance_core.generators.diffusion.warps import draw_warps, warp_images
from rebalance_core.imaging.affine import Mode, warp
from rebalance_core.training.random import keyed_generator

IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
IMAGE = torch.arange(16.0).view(1, 1, 4, 4)  # a pixel is 2 / 4 = 0.5 wide


def warped(
    matrix: list[list[float]], mode: Mode = "bilinear", fill: float | None = None
) -> list[list[float]]:
    result = warp(IMAGE, torch.tensor([matrix]), mode=mode, fill=fill)
    rows: list[list[float]] = result[0, 0].tolist()
    return rows


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_the_identity_changes_nothing(mode: Mode) -> None:
    assert warped(IDENTITY, mode=mode) == IMAGE[0, 0].tolist()


def test_a_mirror_and_a_quarter_turn_are_exact() -> None:
    assert warped([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) == IMAGE[0, 0].flip(1).tolist()
    assert warped([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]) == IMAGE[0, 0].rot90().tolist()


def test_a_matrix_maps_output_to_input_and_the_border_is_replicated() -> None:
    across = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]  # from one pixel to the right
    assert warped(across) == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11], [13, 14, 15, 15]]
    down = [[1.0, 0.0, 0.0], [0.0, 1.0, -0.5]]  # from one pixel above
    assert warped(down) == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_fill_is_used_outside_the_image() -> None:
    across = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]
    filled = [[1, 2, 3, -7], [5, 6, 7, -7], [9, 10, 11, -7], [13, 14, 15, -7]]
    assert warped(across, fill=-7.0) == filled
    assert warped(across, fill=-7.0, mode="nearest") == filled


def test_bilinear_is_the_mean_of_two_neighbours_half_a_pixel_away() -> None:
    half = [[1.0, 0.0, 0.25], [0.0, 1.0, 0.0]]
    assert warped(half)[0] == [0.5, 1.5, 2.5, 3.0]
    assert warped(half, fill=-1.0)[0] == [0.5, 1.5, 2.5, 1.0]  # the last is half fill


def test_every_image_has_its_own_matrix() -> None:
    mirror = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    first, second = warp(IMAGE.expand(2, 1, 4, 4), torch.tensor([IDENTITY, mirror]))
    assert torch.equal(first, IMAGE[0])
    assert torch.equal(second, IMAGE[0].flip(-1))


# The diagonal of an 8 × 8 ramp from -1 to 1, as each gave it before they shared `warp`.
@pytest.mark.parametrize(
    ("augment", "diagonal"),
    [
        (
            lambda ramp: diff_augment(ramp, keyed_generator(1)),
            [-1.0, 0.161931, 0.357328, 0.552725, 0.748122, 0.943519, 0.0, -1.0],
        ),
        (
            lambda ramp: warp_images(ramp, draw_warps(1, 1.0, keyed_generator(1))),
            [-0.777778, -0.670323, -0.395222, -0.120121, 0.15498, 0.430081, 0.705182, 0.835689],
        ),
        (
            lambda ramp: augment_scans(ramp, keyed_generator(1)),
            [-0.857981, -0.556151, -0.242832, 0.070487, 0.383806, 0.697124, 1.0, 1.0],
        ),
    ],
    ids=["diff_augment", "warp_images", "augment_scans"],
)
def test_augmentations_are_unchanged(
    augment: Callable[[Tensor], Tensor], diagonal: list[float]
) -> None:
    result = augment(torch.linspace(-1, 1, 64).view(1, 1, 8, 8))[0, 0].diagonal()
    assert result.tolist() == pytest.approx(diagonal, abs=2e-6)
