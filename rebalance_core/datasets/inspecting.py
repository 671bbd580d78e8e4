"""What an import learns of one image's bytes; runs in several processes at once."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from rebalance_core.dicom import is_dicom, patient_of
from rebalance_core.images import is_gray, open_image

MIN_SIDE = 4  # px; less shows nothing
THUMBNAIL = 64  # px a side


@dataclass(frozen=True)
class Inspected:
    """An image's facts and thumbnail, or why it can't be read."""

    facts: dict[str, Any]
    thumbnail: bytes = b""
    reason: str = ""


def thumbnail(image: Image.Image) -> np.ndarray:
    """An image in mode L or RGB → uint8 (64, 64), gray, stretched."""
    size = (THUMBNAIL, THUMBNAIL)
    small = image.convert("L").resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)
    return np.asarray(small, dtype=np.uint8)


def inspect_all(files: list[bytes | str]) -> list[Inspected]:
    """Contents, or why there are none → what each is."""
    return [
        Inspected({}, reason=data) if isinstance(data, str) else _inspect(data) for data in files
    ]


def _inspect(data: bytes) -> Inspected:
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
                "group": patient_of(data) if is_dicom(data) else "",
            }
    except ValueError as error:
        return Inspected({}, reason=str(error))
    return Inspected(facts, small.tobytes())
