"""Decode image files to 8 bits: formats, limits, orientation, transparency, frames."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageChops, ImageOps, features

from rebalance_core.errors import first_line
from rebalance_core.imaging.dicom import count_frames, forget_series, is_dicom, read_dicom
from rebalance_core.imaging.nifti import forget_volumes, is_nifti, read_slice, slice_indices
from rebalance_core.imaging.picture import MAX_PIXELS, Display, Picture, Plane, check_pixels
from rebalance_core.imaging.placeholders import placeholder

# Files of these suffixes are offered as images; others are if their content is an image's.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".dcm", ".dicom", ".ima"),
    *(".nii", ".nii.gz"),
}
# No other decoder is tried.
FORMATS = (
    *("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"),
    *(("JPEG2000",) if features.check("jpg_2000") else ()),
    *(("AVIF",) if features.check("avif") else ()),
)
HEAD = 1024  # bytes that are enough for `is_image_content`
# Photographs as cameras store them: TIFFs whose first image is a small preview.
RAW_SUFFIXES = {".nef", ".dng", ".cr2", ".arw", ".orf", ".pef", ".srw", ".nrw"}
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0"
    rb"|II[*+]\0|MM\0[*+]|P[1-6]\s+[#\d]|\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"
    rb"|....ftyp(avif|avis|mif1.{4,16}avif)",
    re.DOTALL,
)
DEFAULT = Display()


def has_image_suffix(name: str) -> bool:
    """Whether the name of a file ends like that of an image."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def is_image_content(name: str, head: bytes) -> bool:
    """Whether a file is an image of FORMATS, DICOM or NIfTI, by its first HEAD bytes.

    `name` excludes files whose content is only similar to that of an image.
    """
    if PurePosixPath(name).suffix.lower() in RAW_SUFFIXES:
        return False
    return is_dicom(head) or is_nifti(head) or _MAGIC.match(head) is not None


@dataclass(frozen=True)
class Frame:
    """An image of a file: its index, and what its name adds to the file's name."""

    index: int
    suffix: str


def open_image(data: bytes | Path, display: Display = DEFAULT) -> Image.Image:
    """An image of a file, upright (EXIF), 8 bits in mode L or RGB, shown as `display` says.

    `info["stored"]` is the mode in the file. Raises ValueError if `data` is not an image, is
    damaged or has more than MAX_PIXELS.
    """
    with one_line_errors():
        picture = decode(data, display)
    image = picture.render(display)
    image.info["stored"] = picture.stored
    return image


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Any error of a decoder becomes a ValueError with one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Exception as error:  # decoders raise anything on hostile bytes
        text = first_line(error).split("<_io")[0].strip()
        raise ValueError(text or type(error).__name__) from error


def list_frames(data: bytes, plane: Plane, step: int) -> list[Frame]:
    """The images of a file: one, the frames of a DICOM file, or every n-th slice of a volume.

    May raise any exception on hostile bytes.
    """
    if is_nifti(data):
        axis = {"axial": "z", "coronal": "y", "sagittal": "x"}[plane]
        return [Frame(k, f"#{axis}{k:03d}") for k in slice_indices(data, plane, step)]
    if is_dicom(data) and (count := count_frames(data)) > 1:
        return [Frame(k, f"#{k:03d}") for k in range(count)]
    return [Frame(0, "")]


def decode(data: bytes | Path, display: Display = DEFAULT) -> Picture:
    """Decode one image of a file; may raise any exception on hostile bytes."""
    if isinstance(data, Path):
        data = data.read_bytes()
    if not data:
        raise ValueError("the file is empty")
    if is_dicom(data):
        return read_dicom(data, display)
    if is_nifti(data):
        return read_slice(data, display)
    if substitute := placeholder(data[:HEAD]):
        raise ValueError(substitute)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:  # Pillow's own limit is above ours
        raise ValueError(f"it has more than {MAX_PIXELS} pixels") from error
    check_pixels(*image.size)
    stored = image.mode
    skipped = _further_frames(image, data)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    # every operation copies what is known of an image, and of that only this matters below
    image.info = {k: v for k, v in image.info.items() if k == "transparency"}
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return Picture(stored, image, skipped=skipped)
    values = np.asarray(image)
    depth = "integers of 16 bits" if image.mode.startswith("I;16") else "integers of 32 bits"
    return Picture(
        stored,
        values=values,
        is_integer=image.mode != "F",
        default=partial(_scale_by_maximum, values),
        scale="floats" if image.mode == "F" else depth,
        skipped=skipped,
    )


def forget_files() -> None:
    """Free the memory of the files of several images that were read last."""
    forget_series()
    forget_volumes()


def _further_frames(image: Image.Image, data: bytes) -> int:
    """The frames of an animation, or the pages of a TIFF, after the first; 0 if damaged."""
    try:
        if image.format in ("GIF", "TIFF"):  # counting moves to the last one
            image = Image.open(io.BytesIO(data), formats=(image.format,))
        return max(0, int(getattr(image, "n_frames", 1)) - 1)
    except Exception:  # a damaged further frame does not make the first one unreadable
        return 0


def _scale_by_maximum(values: np.ndarray) -> np.ndarray:
    """Scale one image by its own maximum, as versions up to 0.1 did."""
    values = values.astype(np.float32)
    maximum = max(float(values.max()), 255.0)
    with np.errstate(invalid="ignore"):
        scaled: np.ndarray = (values * (255.0 / maximum)).clip(0, 255).astype(np.uint8)
    return scaled


def is_gray(image: Image.Image, tolerance: int = 12) -> bool:
    """Whether the channels agree within `tolerance` on 99 % of the pixels of a reduced copy."""
    if image.mode == "L":
        return True
    factor = max(image.size) // 64
    red, green, blue = (image.reduce(factor) if factor > 1 else image).split()
    high = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    low = ImageChops.darker(ImageChops.darker(red, green), blue)
    histogram = ImageChops.difference(high, low).histogram()
    return sum(histogram[: tolerance + 1]) >= 0.99 * sum(histogram)
