"""Validate and measure image files, in batches for several processes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from rebalance_core.imaging.decode import (
    DEFAULT,
    Frame,
    decode,
    is_gray,
    list_frames,
    one_line_errors,
)
from rebalance_core.imaging.dicom import is_dicom, patient_hash
from rebalance_core.imaging.gray import GrayStatistics, choose_limits, measure_gray_values
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.imaging.nifti import is_nifti
from rebalance_core.imaging.picture import Display, Ground, Picture, Plane

MIN_SIDE = 4  # px
THUMBNAIL = 64  # px per side
MAX_SIDE = 1024  # px per side of an imported generated image
SAMPLE = 64  # px per side of the pixels whose gray levels are counted
TAIL = 0.002  # share of the pixels on either side that the spread of gray levels leaves out
BLANK_SPREAD = 2  # gray levels up to which an image shows nothing
NO_THUMBNAIL = bytes(THUMBNAIL**2)

Scale = Literal["", "window", "range", "absolute", "CT", "series", "file"]  # '': 8 bits


@dataclass(slots=True)  # not frozen: one is made and filled in per image of a dataset
class Inspection:
    """One image of a file: its columns of the catalogue, thumbnail and gray levels."""

    columns: dict[str, Any]
    thumbnail: bytes = NO_THUMBNAIL
    suffix: str = ""  # that its id adds to the file's
    display: Display = DEFAULT
    scale: Scale = ""  # how its gray values become 8 bits
    shares: str = ""  # images of the same text share their limits
    rule: str = ""  # by which its limits were chosen
    statistics: GrayStatistics | None = None  # if its limits depend on other images
    ink: str = ""  # dark or light, on a transparent ground
    not_finite: int = 0  # pixels
    levels: int = 0  # distinct gray levels after conversion, 1 to 256
    spread: int = 0  # gray levels from the darkest to the brightest pixels, 0 to 255


@dataclass(frozen=True)
class FileInspection:
    """The images of a file, or why it is unreadable."""

    images: tuple[Inspection, ...] = ()
    reason: str = ""
    skipped: int = 0  # further frames or volumes
    blank: int = 0  # slices without content, which are left out
    group: str = ""  # the patient, where the file names one


@dataclass(frozen=True)
class InspectOptions:
    """How files become images: slices of volumes, and a range of gray values for all."""

    plane: Plane = "axial"
    slice_step: int = 5
    limits: tuple[float, float] | None = None


def thumbnail(image: Image.Image) -> np.ndarray:
    """A gray thumbnail, without regard to the aspect ratio: mode L or RGB → uint8 (64, 64)."""
    return np.asarray(_thumbnail(image.convert("L")), dtype=np.uint8)


def _thumbnail(gray: Image.Image) -> Image.Image:
    return gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, reducing_gap=1.5)


def inspect_batch(
    files: list[bytes | str], options: InspectOptions = InspectOptions()
) -> list[FileInspection]:
    """Inspect files, each given as bytes or as the reason why it could not be read."""
    return [
        FileInspection(reason=data) if isinstance(data, str) else _inspect(data, options)
        for data in files
    ]


def measure_batch(images: list[tuple[bytes, Inspection]]) -> list[Inspection]:
    """Measure images of files, [(content, what is known), …], as their display now shows them."""
    measured = []
    for data, known in images:
        with one_line_errors():
            picture = decode(data, known.display)
        measured.append(_measure(picture, known))
    return measured


def _inspect(data: bytes, options: InspectOptions) -> FileInspection:
    try:
        with one_line_errors():
            frames = list_frames(data, options.plane, options.slice_step)
            images, skipped = _inspect_frames(data, frames, options)
            group = patient_hash(data) if is_dicom(data) else ""
        kept = tuple(image for image in images if not _is_empty_slice(image))
        if not kept:
            raise ValueError("all of its slices are empty")
    except ValueError as error:
        return FileInspection(reason=str(error))
    return FileInspection(kept, "", skipped, len(images) - len(kept), group)


def _inspect_frames(
    data: bytes, frames: list[Frame], options: InspectOptions
) -> tuple[list[Inspection], int]:
    """All images of a file, and the number of frames or volumes that are not read."""
    digest = hashlib.sha256(data).hexdigest()
    images, pictures = [], []
    skipped = 0
    for frame in frames:
        display = DEFAULT
        if frame.suffix:
            display = Display(frame=frame.index, plane=options.plane)
        picture = decode(data, display)
        skipped = picture.skipped
        columns = {"sha256": digest, "bytes": len(data), "mode": picture.stored}
        known = Inspection(columns, suffix=frame.suffix, display=display, ink=picture.ink)
        images.append(_inspect_picture(picture, known, options))
        pictures.append(picture if images[-1].scale == "file" else None)
    if len(frames) == 1 and not is_nifti(data):
        return images, skipped
    return _limits_of_file(images, pictures), skipped


def _inspect_picture(picture: Picture, known: Inspection, options: InspectOptions) -> Inspection:
    """Measure a picture; where its limits depend on others, only its gray values."""
    size = picture.size
    if min(size) < MIN_SIDE:
        raise ValueError(
            f"{size[0]}×{size[1]} pixels is too small; at least {MIN_SIDE} per side are needed"
        )
    if picture.values is None:
        return _measure(picture, known)
    if picture.kind == "file" and not np.isfinite(picture.values).any():
        return known  # an empty slice
    statistics = measure_gray_values(picture.values, picture.is_integer, picture.padding)
    known = replace(known, not_finite=statistics.not_finite)
    if options.limits:
        low, high = options.limits
        display = replace(known.display, low=low, high=high)
        return _measure(picture, replace(known, display=display, scale="range"))
    if picture.has_window:
        return _measure(picture, replace(known, scale="window"))
    return replace(known, scale=picture.kind, shares=picture.scale, statistics=statistics)


def _limits_of_file(
    images: list[Inspection], pictures: Sequence[Picture | None]
) -> list[Inspection]:
    """Choose limits for the images of a volume that has no window."""
    statistics = [i.statistics for i in images if i.scale == "file" and i.statistics]
    if not statistics:
        return images
    limits = choose_limits(statistics, is_relative=True)
    done = []
    for image, picture in zip(images, pictures, strict=True):
        if picture is None:
            done.append(image)
            continue
        display = replace(image.display, low=limits.low, high=limits.high)
        done.append(
            _measure(picture, replace(image, display=display, rule=limits.rule, statistics=None))
        )
    return done


def _is_empty_slice(image: Inspection) -> bool:
    return image.columns["mode"] == "NIfTI" and image.spread <= BLANK_SPREAD


def _measure(picture: Picture, known: Inspection) -> Inspection:
    """Fill in what depends on the 8 bits of a picture."""
    image = picture.render(known.display)
    gray = image.convert("L")
    pixels = _thumbnail(gray).tobytes()
    known.thumbnail = pixels
    known.levels, known.spread = gray_levels(gray)
    columns = known.columns
    columns["brightness"] = round(int(np.frombuffer(pixels, np.uint8).sum()) / len(pixels), 2)
    columns["width"], columns["height"] = image.size
    columns["gray"] = is_gray(image)
    return known


def gray_levels(gray: Image.Image) -> tuple[int, int]:
    """The number of distinct gray levels, and those from the darkest to the brightest pixels.

    Of an image in mode L; of a large one, the pixels of a coarse grid.
    """
    if max(gray.size) > SAMPLE:
        size = (min(SAMPLE, gray.width), min(SAMPLE, gray.height))
        gray = gray.resize(size, Image.Resampling.NEAREST)
    counts = gray.histogram()
    tail = TAIL * gray.width * gray.height
    darkest, brightest = _after_tail(counts, tail), 255 - _after_tail(counts[::-1], tail)
    return 256 - counts.count(0), max(0, brightest - darkest)


def _after_tail(counts: list[int], tail: float) -> int:
    """The first level up to which more than `tail` pixels were counted."""
    for level, count in enumerate(counts):
        tail -= count
        if tail < 0:
            return level
    return len(counts) - 1


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


def open_alone(
    data: bytes | Path, limits_of: Mapping[str, tuple[float, float]] = {}, ground: Ground = "black"
) -> Image.Image:
    """The first image of a file that is not part of a dataset, in mode L or RGB.

    Its limits are those of a dataset's images of the same scale, {scale: (low, high)}, where ''
    stands for all, else those of its own gray values. Raises ValueError if it cannot be read.
    """
    with one_line_errors():
        display = Display(ground=ground)
        picture = decode(data, display)
        limits = limits_of.get("", limits_of.get(picture.scale))
        if limits:
            display = replace(display, low=limits[0], high=limits[1])
        elif picture.values is not None and not picture.has_window:
            statistics = measure_gray_values(picture.values, picture.is_integer, picture.padding)
            is_relative = picture.kind in ("series", "file")
            own = choose_limits([statistics], is_ct=picture.kind == "CT", is_relative=is_relative)
            display = replace(display, low=own.low, high=own.high)
        return picture.render(display)


def _square(channels: int, data: bytes) -> SquareImage:
    try:
        with open_alone(data) as image:
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
