"""What an import learns of one image's bytes; runs in several processes at once."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from rebalance_core.imaging.decode import is_gray, open_image
from rebalance_core.imaging.dicom import is_dicom, patient_hash
from rebalance_core.imaging.grid import png_bytes

MIN_SIDE = 4  # px; less shows nothing
THUMBNAIL = 64  # px a side
MAX_SIDE = 1024  # px a side of an image brought as a generated one


@dataclass(frozen=True)
class Inspection:
    """An image's facts and thumbnail, or why it can't be read."""

    facts: dict[str, Any]
    thumbnail: bytes = b""
    reason: str = ""


def thumbnail(image: Image.Image) -> np.ndarray:
    """An image in mode L or RGB → uint8 (64, 64), gray, stretched."""
    size = (THUMBNAIL, THUMBNAIL)
    small = image.convert("L").resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)
    return np.asarray(small, dtype=np.uint8)


def inspect_batch(files: list[bytes | str]) -> list[Inspection]:
    """Contents, or why there are none → what each is."""
    return [
        Inspection({}, reason=data) if isinstance(data, str) else _inspect(data) for data in files
    ]


def _inspect(data: bytes) -> Inspection:
    try:
        with open_image(data) as image:
            if min(image.size) < MIN_SIDE:
                raise ValueError(
                    f"{image.width}×{image.height} pixels are too few, {MIN_SIDE} a side are needed"
                )
            small = thumbnail(image)
            facts = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "brightness": round(float(small.mean()), 2),
                "width": image.width,
                "height": image.height,
                "mode": image.info["stored"],
                "gray": is_gray(image),
                "group": patient_hash(data) if is_dicom(data) else "",
            }
    except ValueError as error:
        return Inspection({}, reason=str(error))
    return Inspection(facts, small.tobytes())


@dataclass(frozen=True)
class SquareImage:
    """A square image of so many channels as PNG, and its side; or why it is none."""

    png: bytes = b""
    side: int = 0  # px
    reason: str = ""


def validate_squares(channels: int, files: list[bytes | str]) -> list[SquareImage]:
    """Contents, or why there are none → what each is; none is scaled or cut."""
    return [
        SquareImage(reason=data) if isinstance(data, str) else _square(channels, data)
        for data in files
    ]


def _square(channels: int, data: bytes) -> SquareImage:
    try:
        with open_image(data) as image:
            if image.width != image.height:
                raise ValueError(f"{image.width}×{image.height} pixels are no square")
            if not MIN_SIDE <= image.width <= MAX_SIDE:
                raise ValueError(
                    f"{image.width} pixels a side are not between {MIN_SIDE} and {MAX_SIDE}"
                )
            if channels == 1 and not is_gray(image):
                raise ValueError("it is in colour, and the dataset is gray")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
            return SquareImage(png_bytes(pixels), image.width)
    except ValueError as error:
        return SquareImage(reason=str(error))
