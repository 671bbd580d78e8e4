"""Decode image files to 8 bits: formats, limits, orientation, transparency."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

from rebalance_core.imaging.dicom import is_dicom, open_dicom

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm"}
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")  # no other decoder is tried
MAX_PIXELS = 50_000_000  # per image, checked before decoding
GRAY_MODES = ("1", "L", "LA", "La")


def open_image(data: bytes | Path) -> Image.Image:
    """The first frame, upright (EXIF), 8 bits in mode L or RGB, on black where transparent.

    `info["stored"]` is the mode in the file. Raises ValueError if `data` is not an image, is
    damaged or has more than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image, stored = _decode(data)
    except Exception as error:  # decoders raise anything on hostile bytes
        raise ValueError(str(error).split("<_io")[0].strip() or type(error).__name__) from error
    image = _to_8_bit(image)
    image.info["stored"] = stored
    return image


def _decode(data: bytes | Path) -> tuple[Image.Image, str]:
    if isinstance(data, Path):
        data = data.read_bytes()
    if not data:
        raise ValueError("the file is empty")
    if is_dicom(data):
        return open_dicom(data, _check_pixels), "DICOM"
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:  # Pillow's own limit is above ours
        raise ValueError(f"it has more than {MAX_PIXELS} pixels") from error
    _check_pixels(*image.size)
    stored = image.mode
    image.load()
    return ImageOps.exif_transpose(image), stored


def _check_pixels(width: int, height: int) -> None:
    """Raise ValueError for an image that is too large to decode."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}×{height} pixels are more than {MAX_PIXELS}")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to L or RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        maximum = max(float(values.max()), 255.0)
        return Image.fromarray((values * (255.0 / maximum)).clip(0, 255).astype(np.uint8))
    if image.mode in ("L", "RGB"):
        return image
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.has_transparency_data:
        composite = Image.new("RGBA", image.size, (0, 0, 0, 255))
        composite.alpha_composite(image.convert("RGBA"))
        return composite.convert(mode)
    return image.convert(mode)


def is_gray(image: Image.Image, tolerance: int = 12) -> bool:
    """Whether the channels agree within `tolerance` on 99 % of the pixels of a reduced copy."""
    if image.mode == "L":
        return True
    red, green, blue = image.reduce(max(1, max(image.size) // 64)).split()
    high = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    low = ImageChops.darker(ImageChops.darker(red, green), blue)
    histogram = ImageChops.difference(high, low).histogram()
    return sum(histogram[: tolerance + 1]) >= 0.99 * sum(histogram)
