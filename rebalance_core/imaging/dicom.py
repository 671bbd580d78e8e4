"""DICOM files, read by pydicom (optional: `requirements-dicom.txt`)."""

import hashlib
import io
import struct
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rebalance_core.errors import first_line
from rebalance_core.imaging.picture import Display, Picture, check_pixels

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = "pip install -r requirements-dicom.txt"
PYDICOM_MISSING = f"DICOM needs pydicom: {INSTALL}"
MAX_FRAMES = 10_000  # per file
MAX_FIRST_VALUE = 1024  # bytes of the first element of a file without preamble
# what the display of a frame depends on
FRAME_ATTRIBUTES = (
    *("Modality", "PhotometricInterpretation", "SeriesInstanceUID", "StudyInstanceUID"),
    *("PatientID", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelRepresentation"),
    *("BitsStored", "BitsAllocated", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)
# value representations of the elements that a file without preamble begins with
FIRST_TYPES = (b"UL", b"OB", b"UI", b"CS", b"SH", b"DA", b"TM", b"LO", b"DT", b"IS")


def is_dicom(data: bytes) -> bool:
    """Whether bytes are a DICOM file, with its preamble or without."""
    return data[128:132] == b"DICM" or _is_data_set(data)


def _is_data_set(data: bytes) -> bool:
    """Whether bytes begin with an element of the groups 2 or 8, as files without preamble do."""
    if len(data) < 16 or data[0] not in (2, 8) or data[1]:
        return False
    element, kind = data[2:4], data[4:6]
    if kind in FIRST_TYPES:
        return element[1] < 0x20
    length = struct.unpack_from("<I", data, 4)[0]  # implicit type
    return data[0] == 8 and element[1] < 0x20 and not length % 2 and length <= MAX_FIRST_VALUE


def count_frames(data: bytes) -> int:
    """The number of images in a file; raises ValueError without pydicom or for too many."""
    count = int(_parse(data, ["NumberOfFrames"]).get("NumberOfFrames") or 1)
    if count > MAX_FRAMES:
        raise ValueError(f"it claims {count} frames, more than {MAX_FRAMES}")
    return count


def _parse(data: bytes, tags: list[str] | None = None, *, pixels: bool = False) -> "Dataset":
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ValueError(PYDICOM_MISSING) from error
    has_preamble = data[128:132] == b"DICM"
    return dcmread(
        io.BytesIO(data),
        force=not has_preamble,
        stop_before_pixels=not pixels,
        specific_tags=list(tags) if tags else None,
    )


def read_dicom(data: bytes, display: Display) -> Picture:
    """One frame: in colour, or gray values after the modality transformation.

    The default rendering is the file's: its VOI window or table; without one, the range of the
    frame. MONOCHROME1 is inverted. May raise any exception on hostile bytes.
    """
    dataset = _read_checked(data)
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    frame = min(display.frame, MAX_FRAMES)
    try:
        pixels = pixel_array(dataset, index=frame)
    except RuntimeError as error:  # with the internal errors of all decoders
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise ValueError(f"its pixels are damaged ({syntax})") from error
    if pixels.ndim == 3:
        return Picture("DICOM", _to_rgb(pixels, dataset, display))
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR" and not display.legacy:
        return Picture("DICOM", _to_rgb(apply_color_lut(pixels, dataset), dataset, display))
    attributes = dataset if display.legacy else _apply_frame_groups(dataset, frame)
    return _gray_picture(pixels, attributes, display)


def _read_checked(data: bytes) -> "Dataset":
    """The parsed file; raises ValueError if it is too large, not an image or not decodable."""
    header = _parse(data)
    check_pixels(int(header.get("Columns") or 0), int(header.get("Rows") or 0))
    if not (header.get("Columns") and header.get("Rows")):
        raise ValueError("the DICOM file contains no image")
    is_series = int(header.get("NumberOfFrames") or 1) > 1
    dataset = _parse_series(data) if is_series else _parse(data, pixels=True)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ValueError("the DICOM file contains no image")
    for name in ("WindowCenter", "WindowWidth"):
        if name in dataset and dataset.get(name) in (None, ""):
            del dataset[name]
    _check_decoder(dataset)
    return dataset


def forget_series() -> None:
    """Free the memory of the multi-frame files that were read last."""
    _parse_series.cache_clear()


@lru_cache(maxsize=2)
def _parse_series(data: bytes) -> "Dataset":
    """Cached, since the frames of a file are read one by one."""
    return _parse(data, pixels=True)


def _check_decoder(dataset: "Dataset") -> None:
    """Set a missing transfer syntax; raise ValueError if there is no decoder for it."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit = dataset.original_encoding[0]
        syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ValueError(f"there is no decoder for DICOM's {syntax.name}") from error
    if not decoder.is_available:
        raise ValueError(f"DICOM's {syntax.name} needs a decoder: {INSTALL}")


def _to_rgb(pixels: np.ndarray, dataset: "Dataset", display: Display) -> Image.Image:
    """Colours (H, W, 3 or more), of 8 or 16 bits → mode RGB."""
    if not display.legacy and pixels.dtype.itemsize > 1 and pixels.max() > 255:
        is_palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
        bits = 16 if is_palette else int(dataset.BitsStored)
        pixels = pixels >> max(0, bits - 8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3].astype(np.uint8)))


def _apply_frame_groups(dataset: "Dataset", frame: int) -> "Dataset":
    """The attributes of one frame of an enhanced file, where older files have them."""
    from pydicom import Dataset

    groups: list[Any] = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    items = [
        item
        for group in groups
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
        for item in list(group.get(name) or [])[:1]
    ]
    if not items:
        return dataset
    merged = Dataset()
    for name in FRAME_ATTRIBUTES:
        if name in dataset:
            merged[name] = dataset[name]
    for item in items:
        merged.update(item)
    return merged


def _gray_picture(pixels: np.ndarray, dataset: "Dataset", display: Display) -> Picture:
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(pixels, dataset)
    padding = None if display.legacy else _padding_mask(pixels, dataset)
    modality = str(dataset.get("Modality") or "")
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    has_window = "WindowWidth" in dataset or "VOILUTSequence" in dataset
    is_integer = bool(values.dtype.kind in "iu" or (values == np.rint(values)).all())
    series = modality == "MR"
    return Picture(
        "DICOM",
        values=values,
        is_integer=is_integer,
        padding=padding,
        inverted=inverted,
        default=partial(_as_prescribed, values, dataset, inverted, padding, display.legacy),
        has_window=has_window,
        scale=_series_hash(dataset) if series else f"DICOM {modality}",
        kind="series" if series else "CT" if modality == "CT" else "absolute",
    )


def _as_prescribed(
    values: np.ndarray, dataset: "Dataset", inverted: bool, padding: np.ndarray | None, legacy: bool
) -> np.ndarray:
    """Gray values as the file prescribes their display, uint8 (H, W)."""
    from pydicom.pixels.processing import apply_voi_lut, apply_windowing

    shown = apply_voi_lut(values, dataset).astype(np.float32)
    inside = shown if padding is None or padding.all() else shown[~padding]
    low, high = float(inside.min()), float(inside.max())
    has_table = "VOILUTSequence" in dataset
    if "WindowWidth" in dataset and not has_table:
        # The window's limits rather than the image's range, so that all slices have one scale.
        low, high = apply_windowing(np.array([-1e9, 1e9]), dataset).tolist()
    elif has_table and not legacy:
        low, high = 0.0, 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    scaled = ((shown - low) * (255.0 / max(high - low, 1e-6))).clip(0, 255)
    if inverted:
        scaled = 255.0 - scaled
    pixels: np.ndarray = scaled.round().astype(np.uint8)
    return pixels


def _padding_mask(pixels: np.ndarray, dataset: "Dataset") -> np.ndarray | None:
    """Mask of the stored values that fill the image outside the scan; None without any."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_signed(value, dataset), _signed(value if limit is None else limit, dataset)]
    mask: np.ndarray = (pixels >= min(ends)) & (pixels <= max(ends))
    return mask if mask.any() else None


def _signed(value: Any, dataset: "Dataset") -> int:
    """A padding value in the sign of the pixels, which some writers do not keep."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(dataset.get("BitsAllocated") or 16)
    is_signed = int(dataset.get("PixelRepresentation") or 0) == 1
    number: int = int(value)
    modulus: int = 2**bits
    if is_signed and number >= modulus // 2:
        return number - modulus
    return number + modulus if not is_signed and number < 0 else number


def _series_hash(dataset: "Dataset") -> str:
    """A short hash of the series, the study or the patient, whichever is known; '' if none is."""
    for name in ("SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
        if identity := str(dataset.get(name) or "").strip():
            return _short_hash(f"{name} {identity}")
    return ""


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def patient_hash(data: bytes) -> str:
    """A short hash of the PatientID, to keep the ID itself out of pages and catalogues; '' if none.

    Raises ValueError if pydicom is missing or the file is damaged.
    """
    try:
        header = _parse(data, ["PatientID"])
    except ValueError:
        raise
    except Exception as error:  # pydicom raises anything on hostile bytes
        raise ValueError(first_line(error)) from error
    patient_id = str(header.get("PatientID") or "").strip()
    return _short_hash(patient_id) if patient_id else ""
