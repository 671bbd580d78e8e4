"""Image files as pictures in 8 bit: formats, limits, orientation, transparency."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

from rebalance_core.imaging.dicom import is_dicom, open_dicom

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm"}
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")  # others' decoders stay shut
MAX_PIXELS = 50_000_000  # of one image; more is refused before it is decoded
GRAY_MODES = ("1", "L", "LA", "La")


def open_image(data: bytes | Path) -> Image.Image:
    """The first frame, upright (EXIF), in mode L or RGB, 8 bit; what is transparent turns black.

    `info["stored"]` is the mode it was stored in. Raises ValueError for what is no image, is
    damaged, or has over MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image, stored = _decode(data)
    except Exception as error:  # whatever a decoder raises over hostile bytes says the same
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
    except Image.DecompressionBombError as error:  # Pillow's limit is higher, so ours is passed too
        raise ValueError(f"it has more than {MAX_PIXELS} pixels") from error
    _check_pixels(*image.size)
    stored = image.mode
    image.load()
    return ImageOps.exif_transpose(image), stored


def _check_pixels(width: int, height: int) -> None:
    """Before anything is decoded."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}×{height} pixels are more than {MAX_PIXELS}")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Any mode of Pillow → L or RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = max(float(values.max()), 255.0)
        return Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
    if image.mode in ("L", "RGB"):
        return image
    gray = image.mode in GRAY_MODES
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, (0, 0, 0, 255))
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("L" if gray else "RGB")
    return image.convert("L" if gray else "RGB")


def is_gray(image: Image.Image, tolerance: int = 12) -> bool:
    """True if the channels agree within `tolerance` on 99 % of a reduced copy's pixels."""
    if image.mode == "L":
        return True
    red, green, blue = image.reduce(max(1, max(image.size) // 64)).split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    least = ImageChops.darker(ImageChops.darker(red, green), blue)
    apart = ImageChops.difference(most, least).histogram()
    return sum(apart[: tolerance + 1]) >= 0.99 * sum(apart)
