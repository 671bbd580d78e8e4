"""Slices of NIfTI volumes, read by nibabel (optional: `requirements-nifti.txt`)."""

import io
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.imaging.gray import scale_gray_values
from rebalance_core.imaging.picture import Display, Picture, Plane, check_pixels

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

NIBABEL_MISSING = "NIfTI needs nibabel: pip install -r requirements-nifti.txt"
MAX_BYTES = 2**30  # of one volume, checked before it is unpacked
MAX_OFFSET = 2**24  # bytes of header and extensions
GZIP = b"\x1f\x8b"
HEADER = 544  # bytes that identify a file
AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Volume:
    """Stored values (x, y, z), oriented to right, anterior and superior, and their meaning."""

    stored: np.ndarray
    slope: float
    intercept: float
    window: tuple[float, float] | None
    further: int  # volumes of the file that are not read


def is_nifti(data: bytes) -> bool:
    """Whether bytes are a NIfTI-1 or -2 file, gzipped or not."""
    return _header_kind(_unpack(data, HEADER)) > 0


def _header_kind(start: bytes) -> int:
    """1 or 2 for NIfTI-1 or -2 by its magic; 0 for other bytes."""
    if start[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    return 2 if start[4:8] in (b"n+2\0", b"ni2\0") else 0


def _unpack(data: bytes, length: int) -> bytes:
    """At most the first `length` bytes, unpacked if gzipped; fewer if the file is damaged."""
    if data[:2] != GZIP:
        return data[:length]
    parts: list[bytes] = []
    left = length
    while left > 0 and data[:2] == GZIP:  # a file may be packed in several members
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(data, left)
        except zlib.error:
            break
        parts.append(part)
        left -= len(part)
        if not unpacker.eof:
            break
        data = unpacker.unused_data
    return b"".join(parts)


def slice_indices(data: bytes, plane: Plane, step: int) -> range:
    """The slices to read: every `step`-th along the axis of the plane."""
    return range(0, _read_volume(data).stored.shape[AXES[plane]], step)


def read_slice(data: bytes, display: Display) -> Picture:
    """One slice, upright, the patient's right on the left (sagittal: anterior on the left).

    The default rendering is the header's window (cal_min, cal_max), else the range of the slice.
    Raises ValueError if the file is damaged.
    """
    volume = _read_volume(data)
    axis = AXES[display.plane]
    if display.frame >= volume.stored.shape[axis]:
        raise ValueError(f"the volume has no slice {display.frame}")
    plane = np.take(volume.stored, display.frame, axis=axis)
    # columns to the left or posterior, rows downwards
    stored = np.ascontiguousarray(plane[::-1, ::-1].T)
    check_pixels(stored.shape[1], stored.shape[0])
    is_plain = (volume.slope, volume.intercept) == (1.0, 0.0)
    values = stored if is_plain else stored * volume.slope + volume.intercept
    return Picture(
        "NIfTI",
        values=values,
        is_integer=values.dtype.kind in "iu",
        default=partial(_scale_slice, values, volume.window),
        has_window=volume.window is not None,
        kind="file",
        skipped=volume.further,
    )


def _scale_slice(values: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    finite = values[np.isfinite(values)]
    own = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return scale_gray_values(values, *(window or own))


def forget_volumes() -> None:
    """Free the memory of the volumes that were read last."""
    _read_volume.cache_clear()


@lru_cache(maxsize=2)
def _read_volume(data: bytes) -> Volume:
    """The first volume of a file; cached, since its slices are read one by one."""
    try:
        import nibabel
    except ImportError as error:
        raise ValueError(NIBABEL_MISSING) from error
    start = _unpack(data, HEADER)
    if start[344:348] == b"ni1\0" or start[4:8] == b"ni2\0":
        raise ValueError("it is a NIfTI header whose image is in another file")
    is_first = _header_kind(start) == 1
    kind = nibabel.Nifti1Header if is_first else nibabel.Nifti2Header
    header = kind.from_fileobj(io.BytesIO(start), check=False)
    shape, further = _check_shape(header)
    dtype = _check_type(header)
    offset = int(header["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise ValueError(f"its voxels claim to begin at byte {offset}")
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES:
        voxels = "×".join(map(str, shape))
        raise ValueError(f"{voxels} voxels take {size:,} bytes, more than {MAX_BYTES:,}")
    content = _unpack(data, offset + size)
    if len(content) < offset + size:
        raise ValueError(
            f"it is cut off: {len(content):,} of {offset + size:,} bytes for "
            f"{'×'.join(map(str, shape))} voxels"
        )
    stored = np.frombuffer(content, dtype, math.prod(shape), offset).reshape(shape, order="F")
    return Volume(_orient(stored, header), *_scaling(header), _window(header), further)


def _check_shape(header: "Nifti1Header") -> tuple[tuple[int, int, int], int]:
    """The shape of the first volume and the number of further ones."""
    dimensions = [int(n) for n in header["dim"]]
    count = dimensions[0]
    if not 2 <= count <= 7 or any(n < 1 for n in dimensions[1 : count + 1]):
        raise ValueError(f"its shape {dimensions[1 : max(1, count) + 1]} is not valid")
    sizes = [*dimensions[1 : count + 1], 1, 1][: max(3, count)]
    x, y, z = sizes[:3]
    return (x, y, z), math.prod(sizes[3:]) - 1


def _check_type(header: "Nifti1Header") -> np.dtype[Any]:
    """The type of the voxels; raises ValueError unless they are real numbers."""
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except Exception as error:
        raise ValueError("the type of its voxels is not known") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"its voxels are not single real numbers, but of type {dtype}")
    return dtype


def _scaling(header: "Nifti1Header") -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        return 1.0, 0.0
    return slope, intercept


def _window(header: "Nifti1Header") -> tuple[float, float] | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _orient(stored: np.ndarray, header: "Nifti1Header") -> np.ndarray:
    """Turn axes to right, anterior, superior; left as stored where the affine is damaged."""
    from nibabel.orientations import apply_orientation, io_orientation

    try:
        with np.errstate(all="ignore"):
            orientation = io_orientation(header.get_best_affine())
    except Exception:  # a singular or infinite affine
        return stored
    if not np.isfinite(orientation).all():
        return stored
    turned: np.ndarray = apply_orientation(stored, orientation)
    return turned
