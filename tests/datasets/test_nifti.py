"""NIfTI volumes: slices of a plane, upright, with one scale per file."""

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command
from PIL import Image
from sources import import_source, pack, unpack

from rebalance_core.comparison.rebalanced import rebalanced_files
from rebalance_core.datasets.dataset import Dataset, export_dataset
from rebalance_core.datasets.gray_levels import describe_levels
from rebalance_core.imaging.decode import list_frames, open_image
from rebalance_core.imaging.nifti import NIBABEL_MISSING, is_nifti
from rebalance_core.imaging.picture import Display, Plane
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

nibabel = pytest.importorskip("nibabel")

SHAPE = (8, 10, 12)  # to the right, anterior and superior
VALUES = np.arange(8 * 10 * 12).reshape(SHAPE)


def nifti(
    values: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    packed: bool = False,
    second: bool = False,
    **fields: Any,
) -> bytes:
    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    image = kind(values, np.eye(4) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    data = image.to_bytes()
    return gzip.compress(data) if packed else data


def opened(data: bytes, frame: int, plane: Plane = "axial") -> np.ndarray:
    return np.asarray(open_image(data, Display(frame=frame, plane=plane, low=0, high=255)))


def volume(number: int, empty: int = 3) -> np.ndarray:
    """Slices of gray noise, the lowest and highest `empty` of 20 without content."""
    values = np.zeros((16, 18, 20), np.int16)
    rng = np.random.default_rng(number)
    values[2:14, 2:16, empty : 20 - empty] = rng.integers(1, 1001, (12, 14, 20 - 2 * empty))
    values[2, 2, empty : 20 - empty] = 1000
    return values


def import_volumes(workspace: Workspace, folder: Path, **options: Any) -> Dataset:
    files = {f"{c}/{k}.nii": nifti(volume(2 * k + (c == "b"))) for c in "ab" for k in range(2)}
    return import_source(workspace, unpack(folder, files), **options)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_volumes_are_recognised_by_content(packed: bool, second: bool) -> None:
    data = nifti(VALUES.astype(np.int16), packed=packed, second=second)
    assert is_nifti(data)
    frames = list_frames(data, "axial", 5)
    assert [(f.index, f.suffix) for f in frames] == [(0, "#z000"), (5, "#z005"), (10, "#z010")]
    assert not is_nifti(b"")
    assert not is_nifti(gzip.compress(b"text" * 200))
    assert not is_nifti(b"\x1f\x8b broken")


@pytest.mark.parametrize(
    ("plane", "frame", "expected"),
    [
        # the patient's right is on the left; rows run from anterior to posterior, or downwards
        ("axial", 5, VALUES[::-1, ::-1, 5].T),
        ("coronal", 4, VALUES[::-1, 4, ::-1].T),
        # anterior is on the left
        ("sagittal", 3, VALUES[3, ::-1, ::-1].T),
    ],
)
@pytest.mark.parametrize("stored", ["RAS", "LPS", "PIR", "SAL"])
def test_slices_are_upright_however_they_are_stored(
    plane: Plane, frame: int, expected: np.ndarray, stored: str
) -> None:
    values = (VALUES % 256).astype(np.uint8)
    image = nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1]))
    ras, other = (nibabel.orientations.axcodes2ornt(tuple(codes)) for codes in ("RAS", stored))
    axes = nibabel.orientations.ornt_transform(ras, other)
    data = image.as_reoriented(axes).to_bytes()
    assert nibabel.aff2axcodes(nibabel.Nifti1Image.from_bytes(data).affine) == tuple(stored)
    assert np.array_equal(opened(data, frame, plane), expected % 256)


@pytest.mark.parametrize(
    ("plane", "axis", "count"), [("axial", "z", 12), ("coronal", "y", 10), ("sagittal", "x", 8)]
)
@pytest.mark.parametrize("step", [1, 4])
def test_every_nth_slice_of_a_plane_is_listed(
    plane: Plane, axis: str, count: int, step: int
) -> None:
    frames = list_frames(nifti(VALUES.astype(np.int16)), plane, step)
    assert [f.suffix for f in frames] == [f"#{axis}{k:03d}" for k in range(0, count, step)]


def test_slices_are_images_and_the_file_is_the_patient(
    workspace: Workspace, tmp_path: Path
) -> None:
    dataset = import_volumes(workspace, tmp_path / "s")
    names = [f"{c}/{k}.nii" for c in "ab" for k in range(2)]
    table = dataset.catalogue
    # of the slices 0, 5, 10 and 15, the first is empty
    assert table["image"].tolist() == [f"{n}#z{z:03d}" for n in names for z in (5, 10, 15)]
    assert table["group"].tolist() == [n for n in names for _ in range(3)]
    assert table["frame"].tolist() == [5, 10, 15] * 4
    assert table["mode"].tolist() == ["NIfTI"] * 12
    assert dataset.manifest.notes == ["4 empty slices were left out (4 files, 'a/0.nii' first)."]
    assert describe_levels(dataset.manifest.gray_levels, 12) == (
        "Gray levels: robust limits of each file (4 files) → 0 to 255, for all images."
    )
    expected = (volume(0)[::-1, ::-1, 10].T * 0.255).round()
    assert np.array_equal(np.asarray(dataset.open("a/0.nii#z010")), expected)
    padded = np.pad(expected, ((0, 0), (1, 1)))
    assert np.array_equal(dataset.array(18)[1, ..., 0], padded)
    export_dataset(dataset, tmp_path / "out")
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(written) == 4
    data = nifti(volume(3))
    assert (tmp_path / "out" / "b" / "1.nii").read_bytes() == data
    assert (dataset.path / "originals").stat().st_size == 4 * len(data)


def test_every_file_has_a_scale_of_its_own(workspace: Workspace, tmp_path: Path) -> None:
    files = {
        f"{c}/{k}.nii.gz": nifti(volume(k) * (1 if c == "a" else 7), packed=True)
        for c in "ab"
        for k in range(2)
    }
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    for k in range(2):
        for z in (5, 10, 15):
            first, second = (dataset.open(f"{c}/{k}.nii.gz#z{z:03d}") for c in "ab")
            assert np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_plane_and_the_step_can_be_chosen(
    workspace: Workspace, tmp_path: Path, plane: str
) -> None:
    dataset = import_volumes(workspace, tmp_path / "s", plane=plane, slice_step=4)
    axis, shown = {"coronal": ("y", (4, 8, 12)), "sagittal": ("x", (4, 8, 12))}[plane]
    names = [f"{c}/{k}.nii#{axis}{i:03d}" for c in "ab" for k in range(2) for i in shown]
    assert dataset.catalogue["image"].tolist() == names
    values = volume(0)
    cut = values[::-1, 8, ::-1].T if plane == "coronal" else values[8, ::-1, ::-1].T
    opened = dataset.open(f"a/0.nii#{axis}008")
    high = float(dataset.catalogue["high"][0])
    assert 950 < high <= 1000
    assert np.array_equal(np.asarray(opened), (cut * (255 / high)).round())


def test_options_of_the_command_line(workspace: Workspace, tmp_path: Path) -> None:
    files = {f"{c}/{k}.nii": nifti(volume(2 * k + (c == "b"))) for c in "ab" for k in range(2)}
    source = pack(tmp_path / "s.zip", files)
    done = command(
        workspace.root, "datasets", "add", "x", source, "--plane", "coronal", "--slice-step", 8
    )
    assert done.returncode == 0, done.stderr
    assert "'train': {'a': 2, 'b': 2}" in done.stdout.replace('"', "'")
    done = command(workspace.root, "datasets", "add", "y", source, "--plane", "oblique")
    assert done.returncode == 2
    assert "plane='oblique'" in done.stderr


def test_the_first_of_several_volumes_is_read(workspace: Workspace, tmp_path: Path) -> None:
    several = np.stack([volume(9), volume(8), volume(7)], axis=-1)
    files = {f"{c}/0.nii.gz": nifti(several, packed=True) for c in "ab"}
    files["b/0.nii.gz"] = nifti(volume(1), packed=True)
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert dataset.manifest.notes[0] == (
        "2 further volumes were not imported ('a/0.nii.gz'): only the first of a NIfTI file is "
        "read."
    )
    expected = (volume(9)[::-1, ::-1, 5].T * 0.255).round()
    assert np.array_equal(np.asarray(dataset.open("a/0.nii.gz#z005")), expected)


def test_scaling_and_window_of_the_header_are_applied(workspace: Workspace, tmp_path: Path) -> None:
    def made(number: int) -> bytes:
        data = bytearray(nifti(volume(number), cal_min=-100.0, cal_max=410.0))
        data[112:120] = np.array([0.5, -100], "<f4").tobytes()  # slope and intercept
        return bytes(data)

    files = {f"{c}/{k}.nii": made(2 * k + (c == "b")) for c in "ab" for k in range(2)}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert describe_levels(dataset.manifest.gray_levels, len(dataset.catalogue)) == (
        "Gray levels: as the window of each file prescribes → 0 to 255, for all images."
    )
    expected = (volume(0)[::-1, ::-1, 10].T * 0.5 * (255 / 510)).round()
    assert np.array_equal(np.asarray(dataset.open("a/0.nii#z010")), expected)


def test_nan_in_a_volume_is_named(workspace: Workspace, tmp_path: Path) -> None:
    files = {}
    for number, name in enumerate(("a/0.nii", "a/1.nii", "b/0.nii", "b/1.nii")):
        values = volume(number).astype(np.float32)
        values[0, 0, 5] = np.nan
        values[..., 15] = np.nan
        files[name] = nifti(values)
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert dataset.manifest.notes == [
        "8 empty slices were left out (4 files, 'a/0.nii' first).",
        "4 pixels are NaN or infinite (4 files, 'a/0.nii' first); NaN is shown as black.",
    ]
    expected = (volume(0)[::-1, ::-1, 5].T * 0.255).round()
    assert np.array_equal(np.asarray(dataset.open("a/0.nii#z005")), expected)


def edited(position: int, values: Any, kind: str) -> bytes:
    data = bytearray(nifti(volume(0)))
    patch = np.array(values, kind).tobytes()
    data[position : position + len(patch)] = patch
    return bytes(data)


HOSTILE = {
    "huge.nii": (
        edited(42, [30000] * 3, "<i2"),
        "30000×30000×30000 voxels take 54,000,000,000,000 bytes, more than 1,073,741,824",
    ),
    "huge.nii.gz": (
        gzip.compress(edited(42, [30000] * 3, "<i2")),
        "30000×30000×30000 voxels take 54,000,000,000,000 bytes, more than 1,073,741,824",
    ),
    "negative.nii": (edited(42, [-5], "<i2"), "its shape [-5, 18, 20] is not valid"),
    "dimensions.nii": (edited(40, [1], "<i2"), "its shape [16] is not valid"),
    "type.nii": (edited(70, [9999], "<i2"), "the type of its voxels is not known"),
    "colour.nii": (edited(70, [128], "<i2"), "its voxels are not single real numbers"),
    "complex.nii": (edited(70, [32], "<i2"), "its voxels are not single real numbers"),
    "offset.nii": (edited(108, [1e9], "<f4"), "its voxels claim to begin at byte 1000000000"),
    "cut.nii": (nifti(volume(0))[:2000], "it is cut off: 2,000 of 11,872 bytes"),
    "cut.nii.gz": (nifti(volume(0), packed=True)[:900], "it is cut off: "),
    "header.nii": (edited(344, list(b"ni1\0"), "u1"), "a NIfTI header whose image is in another"),
    "empty.nii": (nifti(np.zeros(SHAPE, np.int16)), "all of its slices are empty"),
    "nan.nii": (nifti(np.full(SHAPE, np.nan, np.float32)), "all of its slices are empty"),
    "narrow.nii": (
        nifti(np.arange(60, dtype=np.int16).reshape(2, 3, 10)),
        "2×3 pixels is too small; at least 4 per side are needed",
    ),
}


def test_damaged_and_hostile_files_are_one_sentence_each(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = {f"{c}/{k}.nii": nifti(volume(2 * k + (c == "b"))) for c in "ab" for k in range(2)}
    files |= {f"a/{name}": data for name, (data, _) in HOSTILE.items()}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    reasons = {f.image[2:]: f.reason for f in dataset.manifest.unreadable}
    assert set(reasons) == set(HOSTILE)
    for name, (_, reason) in HOSTILE.items():
        assert reason in reasons[name], name
        assert "\n" not in reasons[name]
    assert dataset.counts() == {"train": {"a": 6, "b": 6}}


def test_random_damage_is_a_value_error_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    good = nifti(volume(0))
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(0, 352)] = rng.integers(0, 256)
        data = data[: rng.integers(300, len(data))] if rng.random() < 0.3 else data
        try:
            assert open_image(bytes(data), Display(frame=10)).mode in ("L", "RGB")
        except ValueError as error:
            assert "\n" not in str(error)


def test_a_damaged_affine_leaves_axes_as_they_are_stored() -> None:
    values = (VALUES % 256).astype(np.uint8)
    header = bytearray(nifti(values))
    header[252:256] = np.array([0, 2], "<i2").tobytes()  # the codes of qform and sform
    header[280:328] = np.full(12, np.nan, "<f4").tobytes()
    data = bytes(header)
    assert np.array_equal(opened(data, 5), values[::-1, ::-1, 5].T)


def test_without_nibabel_the_reason_is_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert NIBABEL_MISSING == "NIfTI needs nibabel: pip install -r requirements-nifti.txt"
    with pytest.raises(ValueError) as excinfo:
        open_image(TWO_DIMENSIONAL)
    assert str(excinfo.value) == NIBABEL_MISSING


TWO_DIMENSIONAL = nifti(np.arange(40, dtype=np.int16).reshape(5, 8))


def test_a_file_of_two_dimensions_is_one_slice() -> None:
    assert [f.suffix for f in list_frames(TWO_DIMENSIONAL, "axial", 5)] == ["#z000"]
    expected = np.arange(40).reshape(5, 8)[::-1, ::-1].T
    assert np.array_equal(opened(TWO_DIMENSIONAL, 0), expected)


def test_a_rebalanced_export_holds_the_slices_of_the_set(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = {f"{c}/{k}.nii": nifti(volume(2 * k + (c == "b"))) for c in "ab" for k in range(10)}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    training_set = open_set(workspace, dataset.name)
    exported = list(rebalanced_files(dataset, training_set, None, {}))
    assert len(exported) == len(training_set.train) > 0
    for name, data, line in exported:
        assert name.endswith(".png")
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), np.asarray(dataset.open(line["source"])))
