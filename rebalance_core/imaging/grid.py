"""Pictures as arrays: fitting to a square, grids, PNG."""

import io
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps

Fit = Literal["pad", "stretch", "crop"]  # how an image becomes a square
FITS: tuple[Fit, ...] = get_args(Fit)


def fit_square(image: Image.Image, size: int, channels: int, fit: Fit = "pad") -> np.ndarray:
    """Make a square and resize it: uint8 (size, size, channels).

    pad: black at the short side's edges; stretch: the aspect ratio goes; crop: the middle stays.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    inner = (size, size)
    if fit == "crop":
        image = ImageOps.fit(image, (min(image.size),) * 2)
    elif fit == "pad":
        scale = size / max(image.size)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != inner:
        image = image.resize(inner, Image.Resampling.BILINEAR, reducing_gap=3.0)
    if inner != (size, size):  # padded after it was scaled: a thin image is no large square
        square = Image.new(image.mode, (size, size))
        square.paste(image, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        image = square
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels)


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) → PNG."""
    buffer = io.BytesIO()
    squeezed = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(squeezed).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def make_grid(images: np.ndarray | Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
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


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, H, W, C) → (n, size, size, C); unchanged where it has that size."""
    if images.shape[1] == images.shape[2] == size:
        return images
    channels = images.shape[3]
    fitted = [
        fit_square(Image.fromarray(i[..., 0] if channels == 1 else i), size, channels)
        for i in images
    ]
    return np.stack(fitted) if fitted else np.zeros((0, size, size, channels), np.uint8)
