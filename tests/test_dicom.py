"""DICOM files written by pydicom: display, hashed patients, damaged files."""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import open_image
from rebalance_core.imaging.dicom import PYDICOM_MISSING, is_dicom, patient_hash
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

pydicom = pytest.importorskip("pydicom")

STEPS = np.array([[0, 100], [200, 400]], np.uint16)


def dicom(
    pixels: np.ndarray, kind: str = "MONOCHROME2", patient: str = "", **tags: object
) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[repr(pixels.tolist())])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    file.PatientID = patient
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = kind
    file.BitsAllocated = file.BitsStored = pixels.dtype.itemsize * 8
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


COLOURS = np.array([[[255, 0, 0], [0, 9, 0]], [[0, 0, 7], [1, 2, 3]]], np.uint8)


@pytest.mark.parametrize(
    ("data", "mode", "pixels"),
    [
        (dicom(STEPS), "L", [[0, 64], [128, 255]]),
        (dicom(STEPS, "MONOCHROME1"), "L", [[255, 191], [128, 0]]),
        (dicom((STEPS - 200).astype(np.int16)), "L", [[0, 64], [128, 255]]),
        (dicom(COLOURS, "RGB"), "RGB", COLOURS.tolist()),
        # From 100 to 300: (100, 300] in DICOM's convention is centre 200.5, width 201.
        (dicom(STEPS, WindowCenter=200.5, WindowWidth=201), "L", [[0, 0], [128, 255]]),
        (
            dicom(STEPS, "MONOCHROME1", WindowCenter=200.5, WindowWidth=201),
            "L",
            [[255, 255], [128, 0]],
        ),
        (dicom(STEPS, WindowCenter=[200.5, 5], WindowWidth=[201, 3]), "L", [[0, 0], [128, 255]]),
        # Rescaled to −1000 … −600 first; the window goes from −1000 to 600.
        (
            dicom(
                STEPS, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=-199.5, WindowWidth=1601
            ),
            "L",
            [[0, 16], [32, 64]],
        ),
        (
            dicom(
                np.stack([STEPS, STEPS + 7]), NumberOfFrames=2, Rows=2, Columns=2, SamplesPerPixel=1
            ),
            "L",
            [[0, 64], [128, 255]],
        ),
    ],
    ids=[
        "gray",
        "inverted",
        "signed",
        "colour",
        "window",
        "inverted window",
        "two windows",
        "wide window",
        "two frames",
    ],
)
def test_a_file_is_displayed_as_it_prescribes(data: bytes, mode: str, pixels: list[object]) -> None:
    assert is_dicom(data)
    opened = open_image(data)
    assert (opened.mode, opened.info["stored"]) == (mode, "DICOM")
    assert np.asarray(opened).tolist() == pixels


def test_a_patient_is_a_hash_and_not_the_id() -> None:
    data = dicom(STEPS, patient="DOE^JANE-1948")
    assert patient_hash(data) == hashlib.sha256(b"DOE^JANE-1948").hexdigest()[:12]
    assert patient_hash(dicom(STEPS)) == ""
    assert patient_hash(dicom(STEPS, patient="other")) != patient_hash(data)


@pytest.mark.parametrize("length", [132, 140, 300, -1, -3])
def test_a_damaged_file_is_refused_in_one_line(length: int) -> None:
    data = dicom(STEPS)[:length]
    assert is_dicom(data)
    with pytest.raises(ValueError) as excinfo:
        open_image(data)
    assert str(excinfo.value)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = dicom(STEPS, Rows=60_000, Columns=60_000)
    with pytest.raises(ValueError, match=r"^60000×60000 pixels are more than 50000000$"):
        open_image(data)


def scans(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(6):
        place = folder / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 4096, (12, 10), dtype=np.uint16)
        (place / f"{k}.dcm").write_bytes(dicom(pixels, patient=f"DOE^JANE-{k // 3}"))
    (folder / "a" / "bad.dcm").write_bytes(dicom(STEPS)[:300])
    return folder


def import_folder(workspace: Workspace, folder: Path) -> Dataset:
    config = ImportConfig(name="scans", source=str(folder))
    return import_dataset(workspace, config, MemoryRun())


def test_scans_are_imported_with_their_patients_as_groups(
    workspace: Workspace, tmp_path: Path
) -> None:
    dataset = import_folder(workspace, scans(tmp_path / "scans"))
    assert dataset.counts() == {"train": {"a": 3, "b": 3}}
    hashes = [hashlib.sha256(f"DOE^JANE-{k}".encode()).hexdigest()[:12] for k in range(2)]
    assert dataset.catalogue["group"].tolist() == [hashes[k] for k in (0, 0, 1, 0, 1, 1)]
    assert dataset.catalogue["mode"].tolist() == ["DICOM"] * 6
    assert [entry.image for entry in dataset.manifest.unreadable] == ["a/bad.dcm"]
    for name in ("catalogue.csv", "manifest.json"):
        assert b"JANE" not in (dataset.path / name).read_bytes()
    assert dataset.array(12).shape == (6, 12, 12, 1)


def test_without_pydicom_the_reason_is_the_missing_package(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scans(tmp_path / "scans")
    for name in [n for n in sys.modules if n.partition(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert PYDICOM_MISSING == "DICOM needs pydicom: pip install -r requirements-dicom.txt"
    data = (folder / "a" / "0.dcm").read_bytes()
    for read in (open_image, patient_hash):
        with pytest.raises(ValueError) as excinfo:
            read(data)
        assert str(excinfo.value) == PYDICOM_MISSING
    with pytest.raises(UserError) as excinfo:
        import_folder(workspace, folder)
    assert str(excinfo.value) == (
        f"{folder}: class 'a' has no readable image (4 of 4 unreadable files, 'a/0.dcm' first: "
        f"{PYDICOM_MISSING}); add images, at least two, or remove it."
    )
    for label in "ab":
        for k in range(2):
            (folder / label / f"{k}.png").write_bytes(png_bytes(np.eye(8, dtype=np.uint8) * k))
    listed = import_folder(workspace, folder).manifest.unreadable
    assert {entry.reason for entry in listed} == {PYDICOM_MISSING}
    assert len(listed) == 7
