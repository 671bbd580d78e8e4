"""The eight symmetries of the square, and which of them leave a picture the same picture."""

from functools import cache
from typing import Literal

import numpy as np

Symmetries = Literal["all", "mirror", "none"]
DESCRIPTIONS: dict[Symmetries, str] = {
    "all": "as they are, mirrored, flipped and turned, as for medical images and photographs",
    "mirror": "as they are and mirrored left to right",
    "none": "only as they are, as for digits and letters",
}

# (transpose, flip top to bottom, mirror left to right), applied in this order
SYMMETRIES = (
    (False, False, False),
    (False, False, True),
    (False, True, False),
    (False, True, True),
    (True, False, False),
    (True, True, True),
    (True, False, True),
    (True, True, False),
)
IDENTITY, MIRROR, FLIP = 0, 1, 2  # indices of SYMMETRIES
INVERSE = (0, 1, 2, 3, 4, 5, 7, 6)
# Of all eight: how an image that equals another after the symmetry is described.
KINDS = ("as it is", "mirrored", "flipped", "turned", "turned", "turned", "turned", "turned")
_SUBGROUPS: dict[Symmetries, tuple[int, ...]] = {
    "all": tuple(range(8)),
    "mirror": (IDENTITY, MIRROR),
    "none": (IDENTITY,),
}


def allowed_symmetries(name: Symmetries) -> tuple[int, ...]:
    """Indices of SYMMETRIES; each choice is a group, so that the order of two images is free."""
    return _SUBGROUPS[name]


def compose(outer: int, inner: int) -> int:
    """The index of the symmetry that applies `inner`, then `outer`."""
    return _compositions()[outer][inner]


@cache
def _compositions() -> list[list[int]]:
    square = np.arange(9).reshape(1, 3, 3)
    known = {apply_symmetry(square, k).tobytes(): k for k in range(len(SYMMETRIES))}
    return [
        [
            known[apply_symmetry(apply_symmetry(square, inner), outer).tobytes()]
            for inner in range(len(SYMMETRIES))
        ]
        for outer in range(len(SYMMETRIES))
    ]


def apply_symmetry(images: np.ndarray, index: int) -> np.ndarray:
    """A view of images (n, H, W, …) under one of SYMMETRIES; a transpose needs H = W."""
    transpose, flip, mirror = SYMMETRIES[index]
    if transpose:
        images = images.swapaxes(1, 2)
    if flip:
        images = images[:, ::-1]
    if mirror:
        images = images[:, :, ::-1]
    return images
