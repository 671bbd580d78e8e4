"""DICOM files written by pydicom: display, hashed patients, damaged files."""

import hashlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rebalance_core.datasets.dataset import Dataset, export_dataset
from rebalance_core.datasets.gray_levels import describe_levels
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import decode, open_image
from rebalance_core.imaging.dicom import PYDICOM_MISSING, is_dicom, patient_hash
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.imaging.picture import Display
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
    is_colour = pixels.ndim == 3 and "NumberOfFrames" not in tags
    file.Rows, file.Columns = pixels.shape[-2:] if "NumberOfFrames" in tags else pixels.shape[:2]
    file.SamplesPerPixel = pixels.shape[2] if is_colour else 1
    if is_colour:
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
        (dicom(np.stack([STEPS, STEPS + 7]), NumberOfFrames=2), "L", [[0, 64], [128, 255]]),
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


SIDE = 64
RAMP = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 4096).astype(np.uint16)


def tables(levels: np.ndarray, bits: int) -> dict[str, object]:
    """A palette of 256 colours, (256, 3) of 8 bits, as tags of 8- or 16-bit entries."""
    tags: dict[str, object] = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        entries = levels[:, channel].astype(np.uint16) * (257 if bits == 16 else 1)
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        data = entries.astype(np.uint16 if bits == 16 else np.uint8).tobytes()
        tags[f"{name}PaletteColorLookupTableData"] = data
    return tags


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["scattered", "gray", "one colour"])
def test_a_palette_is_applied(kind: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (256, 3))
    if kind == "gray":
        colours[:] = rng.permutation(256)[:, None]
    elif kind == "one colour":
        colours[:, 1:] = 0
    indices = rng.integers(0, 256, (10, 12)).astype(np.uint8)
    opened = open_image(dicom(indices, "PALETTE COLOR", **tables(colours, bits)))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), colours[indices])


def test_colours_of_16_bits_become_8() -> None:
    pixels = np.array([[[65535, 0, 257]], [[32896, 514, 7]]], np.uint16)
    assert np.asarray(open_image(dicom(pixels, "RGB"))).tolist() == [[[255, 0, 1]], [[128, 2, 0]]]


def compressed(data: bytes, syntax: str) -> bytes:
    """The file in another transfer syntax; JPEG lossless by GDCM, which alone encodes it."""
    if syntax.startswith("JPEGLosslessProcess14"):
        return by_gdcm(data, syntax)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.compress(getattr(pydicom.uid, syntax))
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def by_gdcm(data: bytes, syntax: str) -> bytes:
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.dcm"), Path(folder, "b.dcm")
        source.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target))
        assert writer.Write()
        return target.read_bytes()


LOSSLESS = (
    "RLELossless",
    "JPEGLSLossless",
    "JPEG2000Lossless",
    "JPEGLosslessProcess14",
    "JPEGLosslessProcess14_1",
)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("kind", ["12 bits", "8 bits", "signed"])
def test_compressed_pixels_come_back_exactly(syntax: str, kind: str) -> None:
    pixels = RAMP
    if kind == "8 bits":
        pixels = (RAMP >> 4).astype(np.uint8)
    elif kind == "signed":
        pixels = RAMP.astype(np.int16) - 1024
    picture = decode(compressed(dicom(pixels), syntax))
    assert np.array_equal(picture.values, pixels)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_frame_of_a_compressed_file_is_read(syntax: str) -> None:
    frames = np.stack([RAMP, RAMP[::-1], RAMP // 2])
    data = compressed(dicom(frames, NumberOfFrames=3), syntax)
    for frame in range(3):
        assert np.array_equal(decode(data, Display(frame=frame)).values, frames[frame])


def test_a_missing_decoder_is_named_with_the_command(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders.base import Decoder

    data = compressed(dicom(RAMP), "JPEGLSLossless")
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    reason = (
        "DICOM's JPEG-LS Lossless Image Compression needs a decoder: "
        "pip install -r requirements-dicom.txt"
    )
    with pytest.raises(ValueError) as excinfo:
        open_image(data)
    assert str(excinfo.value) == reason
    for label in "ab":
        (tmp_path / "s" / label).mkdir(parents=True)
        for k in range(2):
            (tmp_path / "s" / label / f"{k}.dcm").write_bytes(data)
    with pytest.raises(UserError) as error:
        import_folder(workspace, tmp_path / "s")
    assert reason in str(error.value)


def test_pixels_that_cannot_be_decoded_are_a_line() -> None:
    data = compressed(dicom(RAMP), "JPEGLSLossless")
    broken = bytearray(data)
    start = data.rindex(b"\xff\xd8\xff")
    broken[start : start + 40] = bytes(40)
    with pytest.raises(ValueError, match=r"^its pixels are damaged \(JPEG-LS Lossless"):
        open_image(bytes(broken))


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("part", ["no preamble", "no meta information"])
def test_files_without_preamble_are_recognised(part: str, implicit: bool) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(STEPS, WindowCenter=200.5, WindowWidth=401)))
    buffer = io.BytesIO()
    if part == "no preamble":
        dataset.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()[132:]
    else:
        del dataset.file_meta
        dataset.SpecificCharacterSet = "ISO_IR 100"
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True)
        data = buffer.getvalue()
        data = data[132:] if data[128:132] == b"DICM" else data
    assert data[128:132] != b"DICM"
    assert is_dicom(data)
    assert np.asarray(open_image(data)).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize(
    "data",
    [
        png_bytes(np.zeros((9, 9), np.uint8)),
        b"BM" + bytes(200),
        b"\x08\x00 a text that is not an image at all",
        b"\x02\x00\x00\x00\xff\xff\xff\xff" + bytes(99),
        bytes(500),
        b"",
    ],
)
def test_other_files_are_not_taken_for_dicom(data: bytes) -> None:
    assert not is_dicom(data)


def test_a_file_without_pixels_is_named() -> None:
    report = pydicom.dcmread(io.BytesIO(dicom(STEPS)))
    del report.PixelData
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    with pytest.raises(ValueError, match=r"^the DICOM file contains no image$"):
        open_image(buffer.getvalue())


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
        f"{folder}: class 'a' has no readable image (4 of 4: {PYDICOM_MISSING}, first "
        "a/0.dcm); add images, at least two, or remove it."
    )
    for label in "ab":
        for k in range(2):
            (folder / label / f"{k}.png").write_bytes(png_bytes(np.eye(8, dtype=np.uint8) * k))
    listed = import_folder(workspace, folder).manifest.unreadable
    assert {entry.reason for entry in listed} == {PYDICOM_MISSING}
    assert len(listed) == 7


def import_files(workspace: Workspace, folder: Path, files: dict[str, bytes]) -> Dataset:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return import_folder(workspace, folder)


def said(dataset: Dataset) -> str:
    return describe_levels(dataset.manifest.gray_levels, len(dataset.catalogue))


def test_all_frames_are_images_of_one_group(workspace: Workspace, tmp_path: Path) -> None:
    """The first frame is black, as in many cine loops."""
    frames = np.stack([np.roll(RAMP, 64 * k) for k in range(12)])
    frames[0] = 0
    files = {
        "a/0.dcm": dicom(frames, NumberOfFrames=12, patient="DOE"),
        "a/1.dcm": dicom(frames[1:4], NumberOfFrames=3),
        "a/2.dcm": dicom(frames[4]),
        "b/0.dcm": dicom(frames[5:7], NumberOfFrames=2),
    }
    dataset = import_files(workspace, tmp_path / "s", files)
    table = dataset.catalogue
    assert table["image"].tolist() == [
        *(f"a/0.dcm#{k:03d}" for k in range(12)),
        *(f"a/1.dcm#{k:03d}" for k in range(3)),
        "a/2.dcm",
        "b/0.dcm#000",
        "b/0.dcm#001",
    ]
    patient = hashlib.sha256(b"DOE").hexdigest()[:12]
    assert table["group"].tolist() == [patient] * 12 + ["a/1.dcm"] * 3 + [""] + ["b/0.dcm"] * 2
    assert table["frame"].dropna().tolist() == [*range(12), 0, 1, 2, 0, 1]
    assert said(dataset) == ("Gray levels: 12 bits, 0 to 4095 → 0 to 255, the same for all images.")
    array = dataset.array(SIDE)[..., 0]
    for k in range(12):
        expected = (frames[k] * (255 / 4095)).round()
        assert np.array_equal(array[k], expected)
        assert np.array_equal(np.asarray(dataset.open(f"a/0.dcm#{k:03d}")), expected)
    assert len(set(dataset.digests)) == len(dataset.digests)
    originals = (dataset.path / "originals").stat().st_size
    assert originals == sum(map(len, files.values()))
    export_dataset(dataset, tmp_path / "out")
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert written == set(files)
    assert all((tmp_path / "out" / name).read_bytes() == files[name] for name in files)


def test_a_damaged_frame_makes_its_file_unreadable(workspace: Workspace, tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP[::-1]])
    files = {f"{c}/{k}.dcm": dicom(np.roll(RAMP, k)) for c in "ab" for k in range(2)}
    files["a/short.dcm"] = dicom(frames, NumberOfFrames=3)
    files["a/many.dcm"] = dicom(frames, NumberOfFrames=2_000_000_000)
    dataset = import_files(workspace, tmp_path / "s", files)
    reasons = {entry.image: entry.reason for entry in dataset.manifest.unreadable}
    assert list(reasons) == ["a/many.dcm", "a/short.dcm"]
    assert reasons["a/many.dcm"] == "it claims 2000000000 frames, more than 10000"
    assert "\n" not in reasons["a/short.dcm"]


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 128, "WindowWidth": 256}])
@pytest.mark.parametrize(
    ("padding", "limit", "dtype"),
    [
        (-32768, None, np.int16),
        (-2000, None, np.int16),
        (-2010, -2000, np.int16),
        (65535, None, np.uint16),
        (4095, None, np.uint16),
    ],
)
def test_padding_is_black_and_does_not_bend_the_scale(
    workspace: Workspace,
    tmp_path: Path,
    padding: int,
    limit: int | None,
    dtype: type,
    tags: dict[str, object],
    kind: str,
) -> None:
    if limit is not None:
        tags = {**tags, "PixelPaddingRangeLimit": limit}
    files, ramps = {}, {}
    for number, name in enumerate(("a/0.dcm", "a/1.dcm", "b/0.dcm", "b/1.dcm")):
        ramps[name] = np.roll(np.arange(256).reshape(16, 16), number)
        pixels = np.pad(ramps[name], ((8, 0), (0, 8)), constant_values=padding).astype(dtype)
        if limit is not None:
            pixels[0] = limit
        files[name] = dicom(pixels, kind, PixelPaddingValue=padding, **tags)
    dataset = import_files(workspace, tmp_path / "s", files)
    assert dataset.manifest.unreadable == []
    for name, ramp in ramps.items():
        pixels = np.asarray(dataset.open(name))
        assert not pixels[:8].any()
        assert not pixels[:, 16:].any()
        expected = 255 - ramp if kind == "MONOCHROME1" else ramp
        assert np.array_equal(pixels[8:, :16], expected)


def test_metal_does_not_change_the_scale_of_a_ct(workspace: Workspace, tmp_path: Path) -> None:
    files = {}
    for number in range(6):
        pixels = (np.roll(RAMP, 64 * number).astype(np.int16) % 1500) - 1000
        if number % 2:
            pixels[:3, :3] = 3071
        files[f"{'ab'[number % 2]}/{number}.dcm"] = dicom(pixels, Modality="CT")
    dataset = import_files(workspace, tmp_path / "s", files)
    assert said(dataset) == (
        "Gray levels: Hounsfield units, -1000 to 499 → 0 to 255, the same for all images."
    )
    pixels = np.asarray(dataset.open("b/1.dcm"))
    expected = (np.roll(RAMP, 64) % 1500 * (255 / 1499)).round()
    expected[:3, :3] = 255
    assert np.array_equal(pixels, expected)


def test_a_rescaled_ct_is_in_hounsfield_units(workspace: Workspace, tmp_path: Path) -> None:
    files = {
        f"{c}/{k}.dcm": dicom(
            np.roll(RAMP, 64 * k), Modality="CT", RescaleSlope=0.5, RescaleIntercept=-1024
        )
        for c in "ab"
        for k in range(2)
    }
    dataset = import_files(workspace, tmp_path / "s", files)
    assert "Hounsfield units, -1024 to 1023.5 → 0 to 255" in said(dataset)
    assert np.array_equal(np.asarray(dataset.open("a/0.dcm")), (RAMP * (255 / 4095)).round())


def test_slices_of_an_mr_series_share_a_scale(workspace: Workspace, tmp_path: Path) -> None:
    """Two series of the same slices, one with three times the gain."""
    files = {}
    for series, gain in enumerate((1, 3)):
        for k in range(3):
            pixels = (np.roll(RAMP, 64 * k) % 1001 * gain // (k + 1)).astype(np.uint16)
            data = dicom(pixels, Modality="MR", SeriesInstanceUID=f"1.2.{series + 3}")
            files[f"{'ab'[series]}/{k}.dcm"] = data
    dataset = import_files(workspace, tmp_path / "s", files)
    assert said(dataset) == (
        "Gray levels: robust limits of each series (2 series) → 0 to 255, for all images."
    )
    assert dataset.catalogue["high"].tolist() == [1000] * 3 + [3000] * 3
    full, half = (np.asarray(dataset.open(f"a/{k}.dcm")) for k in range(2))
    assert (full.max(), half.max()) == (255, 128)
    for k in range(3):
        other = np.asarray(dataset.open(f"b/{k}.dcm")).astype(int)
        assert np.abs(np.asarray(dataset.open(f"a/{k}.dcm")) - other).max() <= 1


def test_windows_stay_those_of_the_files(workspace: Workspace, tmp_path: Path) -> None:
    files = {
        f"{c}/{k}.dcm": dicom(
            np.roll(RAMP, 64 * k), WindowCenter=[400, 2000], WindowWidth=[100, 4000]
        )
        for c in "ab"
        for k in range(2)
    }
    dataset = import_files(workspace, tmp_path / "s", files)
    assert said(dataset) == (
        "Gray levels: as the window of each file prescribes → 0 to 255, for all images."
    )
    pixels = np.asarray(dataset.open("a/0.dcm"))
    assert not pixels[RAMP <= 350].any()
    assert (pixels[RAMP >= 450] == 255).all()


def test_windows_of_the_frames_of_an_enhanced_file() -> None:
    from pydicom import Dataset as Tags

    def group(center: float, intercept: float) -> Tags:
        item, window, transformation = Tags(), Tags(), Tags()
        window.WindowCenter, window.WindowWidth = center, 401
        transformation.RescaleSlope, transformation.RescaleIntercept = 1, intercept
        item.FrameVOILUTSequence = [window]
        item.PixelValueTransformationSequence = [transformation]
        return item

    data = dicom(
        np.stack([STEPS, STEPS]),
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=[group(200.5, 0), group(200.5, 100)],
    )
    assert np.asarray(open_image(data)).tolist() == [[0, 64], [128, 255]]
    assert np.asarray(open_image(data, Display(frame=1))).tolist() == [[64, 128], [191, 255]]


def test_frames_in_colour_are_images(workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    files = {}
    for number, name in enumerate(("a/0.dcm", "b/0.dcm")):
        dataset = pydicom.dcmread(io.BytesIO(dicom(clip[0], "RGB")))
        dataset.NumberOfFrames = 3
        dataset.PixelData = np.roll(clip, number, axis=0).tobytes()
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        files[name] = buffer.getvalue()
    imported = import_files(workspace, tmp_path / "s", files)
    assert imported.channels == 3
    assert np.array_equal(imported.array(8)[:3], clip)
