"""The eight symmetries of the square, and which of them leave a picture the same picture."""

from typing import Literal

import numpy as np

Symmetries = Literal["all", "mirror", "none"]
DESCRIPTIONS: dict[Symmetries, str] = {
    "all": "mirrored, flipped and turned by 90°, as for medical images and aerial photographs",
    "mirror": "mirrored left to right only, as for most photographs",
    "none": "only as it is, as for digits and letters",
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
