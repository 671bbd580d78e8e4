"""DICOM, through the extra `requirements-dicom.txt`."""

import hashlib
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from rebalance_core.errors import first_line

PYDICOM_MISSING = "DICOM needs pydicom: pip install -r requirements-dicom.txt"


def is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def open_dicom(data: bytes, check_pixels: Callable[[int, int], None]) -> Image.Image:
    """The first frame as its file wants it shown (rescale, VOI window; MONOCHROME1 inverted):
    mode L or RGB. Raises ValueError where that cannot be done."""
    try:
        from pydicom import dcmread
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise ValueError(PYDICOM_MISSING) from error
    header = dcmread(io.BytesIO(data), stop_before_pixels=True)
    check_pixels(int(header.get("Columns", 0)), int(header.get("Rows", 0)))
    full = dcmread(io.BytesIO(data))
    pixels = pixel_array(full, index=0)
    if pixels.ndim == 3:
        return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    values = apply_voi_lut(apply_modality_lut(pixels, full), full).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if "WindowWidth" in full and "VOILUTSequence" not in full:
        # The window's ends, also where this image doesn't reach them: slices keep one scale.
        low, high = apply_windowing(np.array([-1e9, 1e9]), full).tolist()
    scaled = (values - low) * (255.0 / max(high - low, 1e-6))
    if full.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 255.0 - scaled
    return Image.fromarray(scaled.round().astype(np.uint8))


def patient_hash(data: bytes) -> str:
    """A short hash of the PatientID, so that pages and catalogues don't show it; '' without one.

    Raises ValueError where pydicom is missing or the file is damaged.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ValueError(PYDICOM_MISSING) from error
    try:
        header = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["PatientID"])
    except Exception as error:  # whatever it raises over hostile bytes says the same
        raise ValueError(first_line(error)) from error
    identity = str(header.get("PatientID") or "").strip()
    return hashlib.sha256(identity.encode()).hexdigest()[:12] if identity else ""
