"""DICOM files, read by pydicom (optional: `requirements-dicom.txt`)."""

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
    """The first frame in mode L or RGB, as the file prescribes its display.

    Applies rescaling and the VOI window, and inverts MONOCHROME1. Raises ValueError if the file
    cannot be read.
    """
    try:
        from pydicom import dcmread
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing
        from pydicom.pixels.utils import pixel_array
    except ImportError as error:
        raise ValueError(PYDICOM_MISSING) from error
    header = dcmread(io.BytesIO(data), stop_before_pixels=True)
    check_pixels(int(header.get("Columns", 0)), int(header.get("Rows", 0)))
    dataset = dcmread(io.BytesIO(data))
    pixels = pixel_array(dataset, index=0)
    if pixels.ndim == 3:
        return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if "WindowWidth" in dataset and "VOILUTSequence" not in dataset:
        # The window's limits rather than the image's range, so that all slices have one scale.
        low, high = apply_windowing(np.array([-1e9, 1e9]), dataset).tolist()
    scaled = (values - low) * (255.0 / max(high - low, 1e-6))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 255.0 - scaled
    return Image.fromarray(scaled.round().astype(np.uint8))


def patient_hash(data: bytes) -> str:
    """A short hash of the PatientID, to keep the ID itself out of pages and catalogues; '' if none.

    Raises ValueError if pydicom is missing or the file is damaged.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ValueError(PYDICOM_MISSING) from error
    try:
        header = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["PatientID"])
    except Exception as error:  # pydicom raises anything on hostile bytes
        raise ValueError(first_line(error)) from error
    patient_id = str(header.get("PatientID") or "").strip()
    return hashlib.sha256(patient_id.encode()).hexdigest()[:12] if patient_id else ""
