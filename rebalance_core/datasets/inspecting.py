"""Validate and measure image files, in batches for several processes."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from rebalance_core.imaging.decode import is_gray, open_image
from rebalance_core.imaging.dicom import is_dicom, patient_hash
from rebalance_core.imaging.grid import png_bytes

MIN_SIDE = 4  # px
THUMBNAIL = 64  # px per side
MAX_SIDE = 1024  # px per side of an imported generated image


@dataclass(frozen=True)
class Inspection:
    """The columns of the catalogue and the thumbnail of an image, or why it is unreadable."""

    columns: dict[str, Any]
    thumbnail: bytes = b""
    reason: str = ""


def thumbnail(image: Image.Image) -> np.ndarray:
    """A gray thumbnail, without regard to the aspect ratio: mode L or RGB → uint8 (64, 64)."""
    size = (THUMBNAIL, THUMBNAIL)
    small = image.convert("L").resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)
    return np.asarray(small, dtype=np.uint8)


def inspect_batch(files: list[bytes | str]) -> list[Inspection]:
    """Inspect files, each given as bytes or as the reason why it could not be read."""
    return [
        Inspection({}, reason=data) if isinstance(data, str) else _inspect(data) for data in files
    ]


def _inspect(data: bytes) -> Inspection:
    try:
        with open_image(data) as image:
            if min(image.size) < MIN_SIDE:
                size = f"{image.width}×{image.height}"
                raise ValueError(
                    f"{size} pixels is too small; at least {MIN_SIDE} per side are needed"
                )
            pixels = thumbnail(image)
            columns = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "brightness": round(float(pixels.mean()), 2),
                "width": image.width,
                "height": image.height,
                "mode": image.info["stored"],
                "gray": is_gray(image),
                "group": patient_hash(data) if is_dicom(data) else "",
            }
    except ValueError as error:
        return Inspection({}, reason=str(error))
    return Inspection(columns, pixels.tobytes())


@dataclass(frozen=True)
class SquareImage:
    """A square image as PNG and its side, or why it is not accepted."""

    png: bytes = b""
    side: int = 0  # px
    reason: str = ""


def validate_squares(channels: int, files: list[bytes | str]) -> list[SquareImage]:
    """Re-encode files as square PNGs of `channels` channels, neither resized nor cropped.

    Each file is given as bytes or as the reason why it could not be read.
    """
    return [
        SquareImage(reason=data) if isinstance(data, str) else _square(channels, data)
        for data in files
    ]


def _square(channels: int, data: bytes) -> SquareImage:
    try:
        with open_image(data) as image:
            if image.width != image.height:
                raise ValueError(f"{image.width}×{image.height} pixels is not square")
            if not MIN_SIDE <= image.width <= MAX_SIDE:
                raise ValueError(
                    f"{image.width} pixels per side is not between {MIN_SIDE} and {MAX_SIDE}"
                )
            if channels == 1 and not is_gray(image):
                raise ValueError("it is in colour, and the dataset is gray")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
            return SquareImage(png_bytes(pixels), image.width)
    except ValueError as error:
        return SquareImage(reason=str(error))
