"""Images that are not 8 bits: one scale for a dataset, whatever kind of numbers they hold."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command
from PIL import Image
from sources import import_source, unpack

from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.gray_levels import describe_levels
from rebalance_core.datasets.health import brightness_outliers, examine
from rebalance_core.datasets.inspecting import validate_squares
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

SIDE = 16
RAMP = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)  # every level from 0 to 255 once


def tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    return buffer.getvalue()


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


def turned(number: int) -> np.ndarray:
    """The ramp, shifted so that no two are equal."""
    return np.roll(RAMP, 17 * number)


def import_pixels(
    workspace: Workspace, folder: Path, images: dict[str, np.ndarray], **options: Any
) -> Dataset:
    files = {
        name: png(pixels) if name.endswith("png") else tiff(pixels)
        for name, pixels in images.items()
    }
    return import_source(workspace, unpack(folder, files), **options)


def shown(dataset: Dataset, image: str) -> np.ndarray:
    """An image as the array of the dataset holds it, which is how it is opened, too."""
    pixels = np.asarray(dataset.open(image))
    array = dataset.array(pixels.shape[0])[dataset.rows[image]]
    assert np.array_equal(array[..., 0], pixels)
    return pixels


def sentence(dataset: Dataset) -> str:
    return describe_levels(dataset.manifest.gray_levels, len(dataset.catalogue))


def four(make: Any, suffix: str) -> dict[str, np.ndarray]:
    return {f"{c}/{k}.{suffix}": make(turned(2 * k + (c == "b"))) for c in "ab" for k in range(2)}


@pytest.mark.parametrize(
    ("make", "suffix", "said"),
    [
        (lambda r: (r / 255).astype(np.float32), "tif", "floats, 0 to 1"),
        (lambda r: (r * 257).astype(np.uint16), "png", "16 bits, 0 to 65535"),
        (lambda r: (r * 257).astype(np.uint16), "tif", "16 bits, 0 to 65535"),
        (lambda r: r.astype(np.float32), "tif", "floats, 0 to 255"),
        (lambda r: (r * 6 - 1000).astype(np.int32), "tif", "Hounsfield units, -1000 to 530"),
        (lambda r: (r * 3 - 90).astype(np.int32), "tif", "signed integers, -90 to 675"),
        (lambda r: (r * 0.5 - 20).astype(np.float32), "tif", "floats, -20 to 107.5"),
        (lambda r: (r * 2e-5).astype(np.float32), "tif", "floats, 0 to 0.0051"),
        (lambda r: (r * 1000).astype(np.int32), "tif", "integers, 0 to 255000"),
    ],
    ids=["0..1", "16 png", "16 tiff", "0..255", "HU", "signed", "floats", "small", "32 bits"],
)
def test_every_kind_of_number_keeps_all_gray_levels(
    workspace: Workspace, tmp_path: Path, make: Any, suffix: str, said: str
) -> None:
    dataset = import_pixels(workspace, tmp_path / "s", four(make, suffix))
    assert sentence(dataset) == f"Gray levels: {said} → 0 to 255, the same for all images."
    for c in "ab":
        for k in range(2):
            assert np.array_equal(shown(dataset, f"{c}/{k}.{suffix}"), turned(2 * k + (c == "b")))
    assert dataset.catalogue["brightness"].tolist() == pytest.approx([127.5] * 4, abs=0.6)
    assert dataset.channels == 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_unsigned_integers_have_the_least_depth_that_holds_them(
    workspace: Workspace, tmp_path: Path, bits: int
) -> None:
    """Half of the exposure stays half as bright."""
    top = 2**bits - 1
    full = (RAMP * (top / 255)).round().astype(np.uint16)
    images = four(lambda r: np.where(r == r[0, 0], full, full[::-1]).astype(np.uint16), "png")
    images["b/0.png"], images["b/1.png"] = full // 2, full[:, ::-1] // 2
    dataset = import_pixels(workspace, tmp_path / "s", images)
    assert sentence(dataset) == (
        f"Gray levels: {bits} bits, 0 to {top} → 0 to 255, the same for all images."
    )
    half = shown(dataset, "b/0.png")
    assert np.abs(half.astype(int) - RAMP / 2).max() <= 1
    assert half.max() == 127


def test_minus_one_to_one_is_recognised(workspace: Workspace, tmp_path: Path) -> None:
    images = four(lambda r: (r / 127.5 - 1).astype(np.float32), "tif")
    dataset = import_pixels(workspace, tmp_path / "s", images)
    assert sentence(dataset) == "Gray levels: floats, -1 to 1 → 0 to 255, the same for all images."
    assert np.array_equal(shown(dataset, "a/0.tif"), turned(0))


def test_resampled_floats_that_overshoot_stay_on_0_to_1(
    workspace: Workspace, tmp_path: Path
) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = np.kron(ramp / 255, np.ones((4, 4))).astype(np.float32)
        pixels[0, :2] = (-0.04, 1.06)
        return pixels

    dataset = import_pixels(workspace, tmp_path / "s", four(make, "tif"))
    assert sentence(dataset) == "Gray levels: floats, 0 to 1 → 0 to 255, the same for all images."
    assert shown(dataset, "a/0.tif")[0, :2].tolist() == [0, 255]


def marked(ramp: np.ndarray, mark: int, scale: int = 4) -> np.ndarray:
    pixels = np.kron(ramp, np.ones((4, 4))).astype(np.int64) * scale
    pixels[0, :6] = mark
    return pixels


@pytest.mark.parametrize(("mark", "scale"), [(65535, 4), (65535, 1), (4095, 4), (60000, 16)])
def test_a_burned_in_mark_does_not_bend_the_scale(
    workspace: Workspace, tmp_path: Path, mark: int, scale: int
) -> None:
    """6 of 4,096 pixels, in one class alone."""
    images = four(lambda r: marked(r, 0, scale).astype(np.uint16), "png")
    for name in ("b/0.png", "b/1.png"):
        images[name] = marked(turned(int(name[2])), mark, scale).astype(np.uint16)
    dataset = import_pixels(workspace, tmp_path / "s", images)
    top = 256 * scale - 1
    assert f"0 to {top} → 0 to 255" in sentence(dataset)
    pixels = shown(dataset, "b/1.png")
    assert pixels[0, :6].tolist() == [255] * 6
    expected = np.kron(turned(1), np.ones((4, 4)))[1:] * scale * 255 / top
    assert np.array_equal(pixels[1:], expected.round())


def test_smoothed_letters_of_a_mark_do_not_bend_the_scale(
    workspace: Workspace, tmp_path: Path
) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = marked(ramp, 65535)
        pixels[0, 6:12] = np.linspace(9000, 60000, 6)
        return pixels.astype(np.uint16)

    dataset = import_pixels(workspace, tmp_path / "s", four(make, "png"))
    assert "10 bits, 0 to 1023 → 0 to 255" in sentence(dataset)


def test_bright_spots_of_many_values_are_no_mark(workspace: Workspace, tmp_path: Path) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = marked(ramp, 0, 1)
        pixels[0, :12] = np.linspace(1000, 60000, 12)
        return pixels.astype(np.uint16)

    dataset = import_pixels(workspace, tmp_path / "s", four(make, "png"))
    assert "16 bits, 0 to 65535 → 0 to 255" in sentence(dataset)


@pytest.mark.parametrize("padding", [-32768, -2000, -3024])
def test_padding_does_not_bend_the_scale(
    workspace: Workspace, tmp_path: Path, padding: int
) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = (ramp * 6 - 1000).astype(np.int32)
        return np.pad(pixels, ((5, 0), (0, 5)), constant_values=padding)  # 42 % of the image

    images = four(make, "tif")
    images["a/blank.tif"] = np.full((SIDE, SIDE), padding, np.int32)
    dataset = import_pixels(workspace, tmp_path / "s", images)
    assert "Hounsfield units, -1000 to 530 → 0 to 255" in sentence(dataset)
    pixels = shown(dataset, "b/1.tif")
    assert not pixels[:5].any()
    assert not pixels[:, SIDE:].any()
    assert np.array_equal(pixels[5:, :SIDE], turned(3))
    assert not shown(dataset, "a/blank.tif").any()


def test_two_padding_values_are_both_left_out(workspace: Workspace, tmp_path: Path) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = np.pad((ramp * 6 - 1000).astype(np.int32), 2, constant_values=-3024)
        pixels[0] = -8192
        return pixels

    dataset = import_pixels(workspace, tmp_path / "s", four(make, "tif"))
    assert "Hounsfield units, -1000 to 530 → 0 to 255" in sentence(dataset)
    assert np.array_equal(shown(dataset, "a/0.tif"), np.pad(turned(0), 2))


def test_air_around_a_body_is_no_padding(workspace: Workspace, tmp_path: Path) -> None:
    def make(ramp: np.ndarray) -> np.ndarray:
        pixels = (ramp * 2).astype(np.int32)
        pixels[:8] = -1000
        return pixels

    dataset = import_pixels(workspace, tmp_path / "s", four(make, "tif"))
    low, high = -1000, 510
    assert f"Hounsfield units, {low} to {high}" in sentence(dataset)
    values = turned(0)[8:] * 2
    assert np.array_equal(shown(dataset, "a/0.tif")[8:], ((values + 1000) * 255 / 1510).round())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named_and_do_not_bend_the_scale(
    workspace: Workspace, tmp_path: Path, value: float
) -> None:
    images = four(lambda r: (r / 255).astype(np.float32), "tif")
    images["a/1.tif"][3, 3] = images["b/0.tif"][0, 1] = images["b/0.tif"][0, 2] = value
    images["b/all.tif"] = np.full((SIDE, SIDE), np.nan, np.float32)
    dataset = import_pixels(workspace, tmp_path / "s", images)
    assert dataset.manifest.notes == [
        "3 pixels are NaN or infinite (2 files, 'a/1.tif' first); NaN is shown as black."
    ]
    assert [f.model_dump() for f in dataset.manifest.unreadable] == [
        {"image": "b/all.tif", "reason": "all of its pixels are NaN or infinite"}
    ]
    expected = turned(2).copy()
    expected[3, 3] = 255 if value == np.inf else 0
    assert np.array_equal(shown(dataset, "a/1.tif"), expected)


def test_outliers_do_not_bend_robust_limits(workspace: Workspace, tmp_path: Path) -> None:
    """A few pixels of many values far from the rest, in one image."""
    rng = np.random.default_rng(0)
    images = {
        f"{c}/{k}.tif": rng.normal(50, 5, (64, 64)).astype(np.float32)
        for c in "ab"
        for k in range(4)
    }
    images["a/0.tif"][0, :20] = np.linspace(1000, 9000, 20)
    (levels,) = import_pixels(workspace, tmp_path / "s", images).manifest.gray_levels
    assert levels.low is not None
    assert levels.high is not None
    assert 25 < levels.low < 37
    assert 62 < levels.high < 75


def test_a_range_can_be_set(workspace: Workspace, tmp_path: Path) -> None:
    images = four(lambda r: (r * 6 - 1000).astype(np.int32), "tif")
    automatic = import_pixels(workspace, tmp_path / "s", images)
    dataset = import_source(workspace, tmp_path / "s", "ranged", gray_range="-100,410")
    assert sentence(dataset) == (
        "Gray levels: as set, -100 to 410 → 0 to 255, the same for all images."
    )
    values = (turned(0) * 6.0 - 1000 + 100) * 0.5
    assert np.array_equal(shown(dataset, "a/0.tif"), values.clip(0, 255).round())
    assert dataset.fingerprint != automatic.fingerprint
    assert set(dataset.digests).isdisjoint(automatic.digests)
    other = tiff((turned(9) * 6 - 1000).astype(np.int32))
    values = (turned(9) * 6.0 - 900) * 0.5
    assert np.array_equal(np.asarray(dataset.open_other(other)), values.clip(0, 255).round())


@pytest.mark.parametrize("text", ["1", "5,1", "a,b", "0,inf", "1,1", ""])
def test_a_range_must_be_two_rising_numbers(text: str) -> None:
    with pytest.raises(UserError, match=r"gray_range=.* does not fit ImportConfig: .*LOW"):
        ImportConfig.build(name="x", source="y", gray_range=text)


def test_images_of_8_bits_are_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    images = four(lambda r: (r // 2).astype(np.uint8), "png")
    dataset = import_pixels(workspace, tmp_path / "s", images)
    assert sentence(dataset) == ""
    assert not {"low", "high", "frame"} & set(dataset.catalogue)
    assert np.array_equal(shown(dataset, "a/0.png"), turned(0) // 2)
    images["b/2.png"] = (turned(5) * 16).astype(np.uint16)
    mixed = import_pixels(workspace, tmp_path / "m", images, name="mixed")
    assert sentence(mixed) == (
        "Gray levels: 12 bits, 0 to 4095 → 0 to 255, the same for 1 of 5 images."
    )
    assert np.isnan(mixed.catalogue["low"][:4]).all()
    assert (mixed.catalogue["low"][4], mixed.catalogue["high"][4]) == (0, 4095)
    assert np.array_equal(shown(mixed, "a/0.png"), turned(0) // 2)


def test_many_images_are_measured_by_several_processes(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = {f"{'ab'[k % 2]}/{k}.png": png((turned(k) * 16).astype(np.uint16)) for k in range(600)}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    array = dataset.array(SIDE)
    expected = [(turned(int(name[2:-4])) * 16 * 255 / 4095).round() for name in dataset.rows]
    assert np.array_equal(array[..., 0], np.stack(expected))


def test_images_of_a_user_have_the_scale_of_the_dataset(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = four(lambda r: (r * 16).astype(np.uint16), "png")
    dataset = import_pixels(workspace, tmp_path / "s", images)
    dark = (turned(0) // 4).astype(np.uint16)  # alone, it would be taken for 8 bits
    opened = np.asarray(dataset.open_other(png(dark)))
    assert np.array_equal(opened, (dark * 255.0 / 4095).round())


@pytest.mark.parametrize(
    "make",
    [
        lambda r: (r / 255).astype(np.float32),
        lambda r: (r * 257).astype(np.uint16),
        lambda r: (r * 6 - 1000).astype(np.int32),
    ],
)
def test_generated_images_from_elsewhere_keep_their_gray_levels(make: Any) -> None:
    (square,) = validate_squares(1, [tiff(make(turned(1)))])
    assert square.reason == ""
    with Image.open(io.BytesIO(square.png)) as image:
        assert np.array_equal(np.asarray(image), turned(1))


def ink(level: int, mode: str, number: int) -> bytes:
    """Ink of one gray level whose strength, the alpha channel, is the drawing."""
    alpha = turned(number).astype(np.uint8)
    if mode == "LA":
        return png(np.stack([np.full_like(alpha, level), alpha], axis=-1), "LA")
    if mode == "P":
        image = Image.fromarray(alpha, "P")
        image.putpalette([level] * 768)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=bytes(range(256)))
        return buffer.getvalue()
    return png(np.dstack([np.full((SIDE, SIDE, 3), level, np.uint8), alpha]), "RGBA")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_dark_ink_on_a_transparent_ground_is_put_on_white(
    workspace: Workspace, tmp_path: Path, mode: str
) -> None:
    files = {f"{c}/{k}.png": ink(0, mode, 2 * k + (c == "b")) for c in "ab" for k in range(3)}
    files["b/2.png"] = ink(200, mode, 5)  # one light drawing does not decide
    files["b/3.png"] = png(turned(7).astype(np.uint8))
    dataset = import_source(workspace, unpack(tmp_path / "dark", files))
    assert dataset.manifest.notes == [
        "The transparent ground of 6 images was filled with white, since their ink is dark."
    ]
    assert np.array_equal(np.asarray(dataset.open("a/1.png").convert("L")), 255 - turned(2))
    assert np.array_equal(np.asarray(dataset.open("b/3.png")), turned(7))
    assert np.array_equal(dataset.array(SIDE)[0, ..., 0], 255 - turned(0))
    assert dataset.catalogue["brightness"][0] == pytest.approx(127.5, abs=0.6)
    light = {f"{c}/{k}.png": ink(255, mode, 2 * k + (c == "b")) for c in "ab" for k in range(2)}
    light["a/2.png"] = ink(0, mode, 8)
    dataset = import_source(workspace, unpack(tmp_path / "light", light), "light")
    assert dataset.manifest.notes == []
    assert np.array_equal(np.asarray(dataset.open("a/1.png").convert("L")), turned(2))


def test_a_dark_scan_that_is_cut_out_stays_on_black(workspace: Workspace, tmp_path: Path) -> None:
    """Its picture is in the gray levels, and the alpha channel only cuts it out."""

    def scan(number: int) -> bytes:
        gray = (turned(number) // 2).astype(np.uint8)  # mean 64
        alpha = np.full_like(gray, 255)
        alpha[:4] = 0
        return png(np.dstack([gray, gray, gray, alpha]))

    files = {f"{c}/{k}.png": scan(2 * k + (c == "b")) for c in "ab" for k in range(2)}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert dataset.manifest.ground == "black"
    expected = turned(0) // 2
    expected[:4] = 0
    assert np.array_equal(np.asarray(dataset.open("a/0.png").convert("L")), expected)


def test_further_frames_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    frames = [Image.fromarray(turned(k).astype(np.uint8)) for k in range(3)]
    files = {f"{c}/{k}.png": png(turned(5 + k).astype(np.uint8)) for c in "ab" for k in range(2)}
    for name, form in (("a/x.gif", "GIF"), ("b/y.tif", "TIFF")):
        buffer = io.BytesIO()
        frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
        files[name] = buffer.getvalue()
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert dataset.manifest.notes == [
        "4 further frames or pages were not imported (2 files, 'a/x.gif' first): only the first of "
        "a GIF, TIFF, WebP or PNG is read."
    ]
    assert np.array_equal(np.asarray(dataset.open("b/y.tif")), turned(0))


def test_a_dataset_of_an_earlier_version_is_decoded_as_before(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Such a manifest has no ground, its catalogue no limits, and there is no levels.npz."""
    images = four(lambda r: (r * 40).astype(np.uint16), "png")
    images["a/f.tif"] = (RAMP / 255).astype(np.float32)
    dataset = import_pixels(workspace, tmp_path / "s", images)
    manifest = read_json(dataset.path / "manifest.json")
    for name in ("gray_levels", "ground", "notes"):
        del manifest[name]
    catalogue = dataset.catalogue.drop(columns=["low", "high"])
    text = catalogue.to_csv(index=False, lineterminator="\n").encode()
    (dataset.path / "catalogue.csv").write_bytes(text)

    manifest["catalogue"] = hashlib.sha256(text).hexdigest()
    write_json(dataset.path / "manifest.json", manifest)
    (dataset.path / "levels.npz").unlink()
    old = open_dataset(workspace, dataset.name)
    scaled = (turned(0) * 40).astype(np.float32) * np.float32(255 / (255 * 40))
    assert np.array_equal(shown(old, "a/0.png"), scaled.astype(np.uint8))
    assert shown(old, "a/f.tif").max() == 1
    assert old.digests == old.catalogue["sha256"].tolist()
    assert [f.name for f in examine(old)][-2:] == ["dark", "bright"]
    assert old.used_levels is None


def test_the_command_line_says_what_was_done(workspace: Workspace, tmp_path: Path) -> None:
    images = four(lambda r: (r * 16).astype(np.uint16), "png")
    files = {name: png(pixels) for name, pixels in images.items()}
    folder = unpack(tmp_path / "s", files)
    done = command(workspace.root, "datasets", "add", "x", folder, "--json")
    said = "Gray levels: 12 bits, 0 to 4095 → 0 to 255, the same for all images."
    assert json.loads(done.stdout)["gray_levels"] == said
    assert said in command(workspace.root, "datasets", "show", "x").stdout
    done = command(workspace.root, "datasets", "add", "y", folder, "--range", "-100,1000", "--json")
    assert json.loads(done.stdout)["gray_levels"] == (
        "Gray levels: as set, -100 to 1000 → 0 to 255, the same for all images."
    )


def find(dataset: Dataset, name: str) -> tuple[list[str], str]:
    (finding,) = (f for f in examine(dataset) if f.name == name)
    rows = [row for group in finding.groups for row in group]
    return [dataset.catalogue["image"][row] for row in sorted(rows)], finding.note


def test_blank_images_are_found(workspace: Workspace, tmp_path: Path) -> None:
    files = {
        f"{c}/{k}.png": png(turned(2 * k + (c == "b")).astype(np.uint8))
        for c in "ab"
        for k in range(4)
    }
    files["a/black.png"] = png(np.zeros((64, 64), np.uint8))
    files["a/gray.png"] = png(np.full((64, 64), 130, np.uint8))
    mark = np.zeros((64, 64), np.uint8)
    mark[0, :6] = 255
    files["b/mark.png"] = png(mark)
    noise = np.random.default_rng(0).integers(9, 12, (64, 64)).astype(np.uint8)
    files["b/noise.png"] = png(noise)
    files["b/red.png"] = png(np.dstack([np.full((64, 64), 200), mark * 0, mark * 0]).astype("u1"))
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    names = ["a/black.png", "a/gray.png", "b/mark.png", "b/noise.png", "b/red.png"]
    assert find(dataset, "blank") == (names, "")
    blank = {name: data for name, data in files.items() if name in names or name == "a/0.png"}
    solid = import_source(workspace, unpack(tmp_path / "t", blank), "solid")
    assert find(solid, "blank") == (names, "")


def test_findings_are_in_the_output_of_the_command_line(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = {
        f"{c}/{k}.png": png(turned(2 * k + (c == "b")).astype("u1")) for c in "ab" for k in range(4)
    }
    files |= {f"b/blank{k}.png": png(np.full((16, 16), 100 + k, np.uint8)) for k in range(2)}
    folder = unpack(tmp_path / "s", files)
    done = command(workspace.root, "datasets", "add", "x", folder, "--json")
    blank = json.loads(done.stdout)["findings"]["blank"]
    assert blank.pop("description")
    assert blank == {
        "title": "Blank images",
        "groups": 1,
        "images": 2,
        "by_class": {"b": 2},
        "first": "b/blank0.png",
        "note": "",
    }


def test_images_of_few_gray_levels_are_found(workspace: Workspace, tmp_path: Path) -> None:
    def levels(number: int, count: int) -> bytes:
        return png((turned(number) * count // 256 * (255 // (count - 1))).astype(np.uint8))

    files = {f"{c}/{k}.png": levels(4 * k + (c == "b"), 128) for c in "ab" for k in range(5)}
    files |= {
        "a/five.png": levels(2, 5),
        "b/mask.png": levels(3, 2),
        "b/sixteen.png": levels(6, 16),
    }
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert find(dataset, "few-levels") == (["a/five.png", "b/mask.png"], "")
    art = {f"{c}/{k}.png": levels(2 * k + (c == "b"), 2) for c in "ab" for k in range(5)}
    art["a/photo.png"] = levels(11, 128)
    dataset = import_source(workspace, unpack(tmp_path / "t", art), "art")
    images, note = find(dataset, "few-levels")
    assert images == []
    assert note.startswith("10 of 11 images have fewer than 16 gray levels, as line art and masks")


def test_far_darker_and_brighter_images_are_found(workspace: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def around(level: int) -> bytes:
        return png((level + rng.integers(-20, 21, (16, 16))).clip(0, 255).astype(np.uint8))

    files = {f"{c}/{k}.png": around(95 + 2 * k) for c in "ab" for k in range(10)}
    files |= {"a/dark.png": around(12), "b/bright.png": around(240)}
    dataset = import_source(workspace, unpack(tmp_path / "s", files))
    assert find(dataset, "dark") == (["a/dark.png"], "")
    assert find(dataset, "bright") == (["b/bright.png"], "")


def test_an_ordinary_phantom_has_no_such_finding(phantom: Dataset) -> None:
    for name in ("blank", "few-levels", "dark", "bright"):
        assert find(phantom, name) == ([], "")


def test_brightness_outliers_need_a_typical_brightness() -> None:
    shown = np.ones(5, bool)
    dark, bright = brightness_outliers(np.array([100.0, 100, 100, 0, 255]), shown)
    assert not dark.any()
    assert not bright.any()
    usual = np.r_[np.full(20, 40.0) + np.arange(20) % 5, 3, 44, 130]
    dark, bright = brightness_outliers(usual, np.ones(23, bool))
    assert np.flatnonzero(dark).tolist() == [20]
    assert np.flatnonzero(bright).tolist() == [22]


def test_a_damaged_limit_is_a_sentence(workspace: Workspace, tmp_path: Path) -> None:

    images = four(lambda r: (r * 16).astype(np.uint16), "png")
    dataset = import_pixels(workspace, tmp_path / "s", images)
    text = (dataset.path / "catalogue.csv").read_text().replace("4095.0", "much")
    (dataset.path / "catalogue.csv").write_text(text)
    manifest = read_json(dataset.path / "manifest.json")
    manifest["catalogue"] = hashlib.sha256(text.encode()).hexdigest()
    write_json(dataset.path / "manifest.json", manifest)
    with pytest.raises(UserError, match="a limit that is not a number"):
        open_dataset(workspace, dataset.name).open("a/0.png")
