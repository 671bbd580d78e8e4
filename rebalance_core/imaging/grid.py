"""Images as arrays: resizing to a square, grids, PNG."""

import io
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps

Fit = Literal["pad", "stretch", "crop"]  # how an image becomes a square
FITS: tuple[Fit, ...] = get_args(Fit)


def fit_square(image: Image.Image, size: int, channels: int, fit: Fit = "pad") -> np.ndarray:
    """Resize to a square: uint8 (size, size, channels).

    pad: with black on the short side; stretch: to the new aspect ratio; crop: to the centre.
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
    if inner != (size, size):  # pad last: the square of a thin image at its own size could be huge
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
    """uint8 (n, H, W, C) → one image, row by row, on a dark background."""
    stack = np.asarray(images)
    n, height, width, channels = stack.shape
    rows = -(-n // columns)
    canvas = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 32, np.uint8
    )
    for i, image in enumerate(stack):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        canvas[y : y + height, x : x + width] = image
    return canvas


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, H, W, C) → (n, size, size, C); returned as is if the size is right."""
    if images.shape[1] == images.shape[2] == size:
        return images
    channels = images.shape[3]
    resized = [
        fit_square(Image.fromarray(i[..., 0] if channels == 1 else i), size, channels)
        for i in images
    ]
    return np.stack(resized) if resized else np.zeros((0, size, size, channels), np.uint8)
