"""Pictures as arrays: decoding, fitting to a square, grids, PNG."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
MAX_PIXELS = 50_000_000  # of one image; more is refused before it is decoded


def open_image(data: bytes | Path) -> Image.Image:
    """The first frame, upright (EXIF), in mode L or RGB, 8 bit.

    Raises ValueError for what is no image, is damaged, or has over MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}×{image.height} pixels are more than {MAX_PIXELS}")
            image.load()
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # whatever a decoder raises over hostile bytes says the same
        raise ValueError(str(error).split("<_io")[0].strip()) from error
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = max(float(values.max()), 255.0)
        return Image.fromarray((values * (255.0 / top)).clip(0, 255).astype(np.uint8))
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


def is_gray(image: Image.Image, tolerance: int = 12) -> bool:
    """True if the channels agree within `tolerance` on 99 % of a reduced copy's pixels."""
    if image.mode == "L":
        return True
    small = np.asarray(image.reduce(max(1, max(image.size) // 64)), dtype=np.int16)
    return bool(np.mean(small.max(axis=2) - small.min(axis=2) <= tolerance) >= 0.99)


def fit_square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Pad to a square with black, then resize: uint8 (size, size, channels)."""
    image = image.convert("L" if channels == 1 else "RGB")
    side = max(image.size)
    if image.width != image.height:
        image = ImageOps.pad(image, (side, side), color=0)
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels)


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) → PNG."""
    buffer = io.BytesIO()
    squeezed = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(squeezed).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def grid(images: np.ndarray | Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """uint8 (n, H, W, C) → one picture, row by row, on a dark ground."""
    stack = np.asarray(images)
    n, height, width, channels = stack.shape
    rows = -(-n // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 32, np.uint8
    )
    for i, image in enumerate(stack):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[y : y + height, x : x + width] = image
    return sheet


def resize_stack(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, H, W, C) → (n, size, size, C); unchanged where it has that size."""
    if images.shape[1] == images.shape[2] == size:
        return images
    channels = images.shape[3]
    fitted = [
        fit_square(Image.fromarray(i[..., 0] if channels == 1 else i), size, channels)
        for i in images
    ]
    return np.stack(fitted) if fitted else np.zeros((0, size, size, channels), np.uint8)
