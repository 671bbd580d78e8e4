"""Images of all formats and modes become gray or colour bytes; damaged ones are refused."""

import io
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rebalance_core.imaging.decode import is_gray, open_image
from rebalance_core.imaging.grid import Fit, fit_square, make_grid, png_bytes, resize_images
from rebalance_core.imaging.picture import Display, Ground

UPRIGHT = 0x0112  # the EXIF tag of the orientation


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int = 20, width: int = 24) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return image


@pytest.mark.parametrize(
    ("image", "form", "mode", "pixels"),
    [
        (Image.fromarray(np.array([[3, 200]], np.uint8)), "PNG", "L", [[3, 200]]),
        (Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", "RGB", [[[1, 2, 3]]]),
        (Image.new("RGBA", (1, 1), (100, 200, 0, 128)), "PNG", "RGB", [[[50, 100, 0]]]),
        (Image.new("RGBA", (1, 1), (1, 2, 3, 0)), "PNG", "RGB", [[[0, 0, 0]]]),
        (Image.new("RGBA", (1, 1), (1, 2, 3, 255)), "PNG", "RGB", [[[1, 2, 3]]]),
        (palette(), "PNG", "RGB", [[[255, 0, 0], [0, 0, 255]]]),
        (palette(), "GIF", "RGB", [[[255, 0, 0], [0, 0, 255]]]),
        (Image.new("LA", (1, 1), (77, 0)), "PNG", "L", [[0]]),
        (Image.new("LA", (1, 1), (77, 255)), "PNG", "L", [[77]]),
        (Image.new("1", (2, 1), 1), "PNG", "L", [[255, 255]]),
        (Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)), "PNG", "L", [[0, 51, 255]]),
        (Image.fromarray(np.array([[0, 9, 255]], np.uint16)), "PNG", "L", [[0, 9, 255]]),
        (Image.fromarray(np.array([[-5, 510]], np.int32)), "TIFF", "L", [[0, 255]]),
        (Image.fromarray(np.array([[0, 127.5, 255]], np.float32)), "TIFF", "L", [[0, 127, 255]]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF", "RGB", [[[255, 0, 0]]]),
    ],
    ids=[
        "L",
        "RGB",
        "half",
        "clear",
        "RGBA",
        "P",
        "GIF",
        "LA-clear",
        "LA",
        "1",
        "I;16",
        "I;16-dark",
        "I",
        "F",
        "CMYK",
    ],
)
def test_every_mode_becomes_gray_or_colour_bytes(
    image: Image.Image, form: str, mode: str, pixels: list[Any]
) -> None:
    opened = open_image(encoded(image, form))
    assert opened.mode == mode
    assert np.asarray(opened).tolist() == pixels


@pytest.mark.parametrize(
    ("orientation", "pixels"),
    [(1, [[10, 20]]), (2, [[20, 10]]), (3, [[20, 10]]), (6, [[10], [20]]), (8, [[20], [10]])],
)
def test_exif_orientation_is_applied(orientation: int, pixels: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[UPRIGHT] = orientation
    image = Image.fromarray(np.array([[10, 20]], np.uint8))
    assert np.asarray(open_image(encoded(image, exif=exif))).tolist() == pixels


def test_the_first_frame_of_several_is_read() -> None:
    frames = [Image.new("L", (2, 2), value) for value in (40, 90)]
    opened = open_image(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    assert np.asarray(opened).tolist() == [[40, 40], [40, 40]]


def test_a_path_is_opened_like_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(noise()))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("This is text, whatever its name says.")
    for source in (tmp_path / "notes.jpg", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match=r"^cannot identify image file$"):
            open_image(source)
    with pytest.raises(ValueError, match=r"^the file is empty$"):
        open_image(b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_is_refused(form: str) -> None:
    data = encoded(noise(64, 64), form)
    with pytest.raises(ValueError):
        open_image(data[: len(data) // 2])


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = encoded(Image.new("1", (10_000, 5_001)))
    assert len(data) < 10_000
    with pytest.raises(ValueError, match="10000×5001 pixels are more than 50000000"):
        open_image(data)


EXIF = Image.Exif()
EXIF[UPRIGHT] = 6
FORMS: dict[str, bytes] = {
    "BMP": encoded(noise(), "BMP"),
    "GIF": encoded(noise().convert("P"), "GIF"),
    "JPEG": encoded(noise(), "JPEG", exif=EXIF),
    "PNG": encoded(noise(), "PNG", exif=EXIF),
    "TIFF": encoded(noise(), "TIFF"),
    "TIFF-deflate": encoded(noise(), "TIFF", compression="tiff_deflate"),
    "TIFF-lzw": encoded(noise(), "TIFF", compression="tiff_lzw"),
    "WEBP": encoded(noise(), "WEBP", exif=EXIF),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("capfd")  # libtiff speaks to stderr
def test_damaged_bytes_are_opened_or_refused_and_nothing_else(form: str) -> None:
    """Any other exception would abort the import of a whole dataset."""
    draw = random.Random(0)
    for _ in range(1500):
        data = bytearray(FORMS[form])
        for _ in range(draw.randint(1, 4)):
            reach = min(len(data), 400) if draw.random() < 0.7 else len(data)
            data[draw.randrange(reach)] = draw.randrange(256)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert open_image(bytes(data)).mode in ("L", "RGB")
            except ValueError:
                continue


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("WEBP", b"MM\x00*", b"MM-*"),  # an EXIF block that begins as no EXIF does
        ("TIFF", b"\x11\x01\x04\x00", b"\x11\x01\x05\x00"),  # strip offsets as fractions
    ],
)
def test_an_invalid_tag_does_not_abort_an_import(form: str, good: bytes, bad: bytes) -> None:
    assert good in FORMS[form]
    try:
        assert open_image(FORMS[form].replace(good, bad)).size == (24, 20)
    except ValueError as error:
        assert "\n" not in str(error)


def test_padding_centres_a_narrow_image_on_black() -> None:
    white = Image.new("L", (10, 20), 255)
    expected = np.zeros((20, 20, 1), np.uint8)
    expected[:, 5:15] = 255
    assert np.array_equal(fit_square(white, 20, 1), expected)
    assert np.array_equal(fit_square(white, 20, 3), np.repeat(expected, 3, axis=2))
    flat = fit_square(Image.new("RGB", (20, 10), (1, 2, 3)), 20, 3)
    assert not flat[:5].any()
    assert not flat[15:].any()
    assert (flat[5:15] == (1, 2, 3)).all()


STRIPES = Image.fromarray(np.repeat(np.array([[10, 20, 30, 40]], np.uint8), 2, axis=0))


@pytest.mark.parametrize(
    ("fit", "size", "pixels"),
    [
        ("pad", 4, [[0] * 4, [10, 20, 30, 40], [10, 20, 30, 40], [0] * 4]),
        ("crop", 2, [[20, 30], [20, 30]]),
        ("stretch", 4, [[10, 20, 30, 40]] * 4),
        ("stretch", 1, [[25]]),
    ],
)
def test_each_fit_gives_exact_pixels(fit: Fit, size: int, pixels: list[list[int]]) -> None:
    """4 × 2 pixels: padded with black, cropped to the centre, or stretched to twice the height."""
    assert fit_square(STRIPES, size, 1, fit)[..., 0].tolist() == pixels
    tall = STRIPES.transpose(Image.Transpose.ROTATE_270)
    turned = np.rot90(np.array(pixels), -1)
    assert np.array_equal(fit_square(tall, size, 1, fit)[..., 0], turned)
    assert np.array_equal(fit_square(tall, size, 3, fit)[..., 2], turned)


def test_fitting_halves_by_averaging() -> None:
    checked = Image.fromarray(np.kron([[0, 100], [200, 40]], np.ones((8, 8))).astype(np.uint8))
    assert fit_square(checked, 16, 1)[..., 0].tolist() == np.asarray(checked).tolist()
    halved = fit_square(checked, 8, 1)[..., 0]
    assert (halved[0, 0], halved[0, -1], halved[-1, 0], halved[-1, -1]) == (0, 100, 200, 40)


def test_gray_and_colour_are_distinguished() -> None:
    pixels = np.full((10, 10, 3), 100, np.uint8)
    assert is_gray(Image.new("L", (3, 3)))
    assert is_gray(Image.fromarray(pixels))
    pixels[..., 0] = 112  # a JPEG's rounding is no colour
    assert is_gray(Image.fromarray(pixels))
    pixels[..., 0] = 113
    assert not is_gray(Image.fromarray(pixels))


@pytest.mark.parametrize(("coloured", "gray"), [(1, True), (2, False)])
def test_an_image_with_one_per_cent_of_colour_is_gray(coloured: int, gray: bool) -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[0, :coloured, 0] = 255
    assert is_gray(Image.fromarray(pixels)) is gray


def test_a_grid_is_row_by_row_on_a_dark_background() -> None:
    images = np.stack([np.full((2, 3, 1), value, np.uint8) for value in (1, 2, 3)])
    assert make_grid(images, columns=2, gap=1)[..., 0].tolist() == [
        [1, 1, 1, 32, 2, 2, 2],
        [1, 1, 1, 32, 2, 2, 2],
        [32, 32, 32, 32, 32, 32, 32],
        [3, 3, 3, 32, 32, 32, 32],
        [3, 3, 3, 32, 32, 32, 32],
    ]
    assert make_grid(images, columns=3).shape == (2, 13, 1)
    assert make_grid(list(images), columns=1).shape == (10, 3, 1)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3)])
def test_png_keeps_every_byte(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(pixels))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image).reshape(shape), pixels)


def test_images_are_resized_only_if_needed() -> None:
    stack = np.full((2, 4, 4, 3), 9, np.uint8)
    assert resize_images(stack, 4) is stack
    assert np.array_equal(resize_images(stack, 2), np.full((2, 2, 2, 3), 9, np.uint8))
    assert resize_images(stack[:0], 2).shape == (0, 2, 2, 3)


def test_a_thin_image_is_padded_without_a_large_square() -> None:
    thin = Image.new("L", (8, 100_000), 200)  # padded first, it would take 10 GB
    fitted = fit_square(thin, 64, 1)[..., 0]
    assert fitted[:, 31].tolist() == [200] * 64
    assert fitted.sum() == 200 * 64


def test_other_formats_are_not_decoded() -> None:
    for form in ("EPS", "TGA"):
        with pytest.raises(ValueError, match="cannot identify image file"):
            open_image(encoded(noise(), form))


def test_a_damaged_further_frame_leaves_the_first_one_readable() -> None:
    frames = [noise().quantize(64) for _ in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[5, 6, 7])
    opened = open_image(data[: len(encoded(frames[0], "GIF")) + 40])
    assert np.array_equal(np.asarray(opened), np.asarray(frames[0].convert("RGB")))
    pages = encoded(noise(), "TIFF", save_all=True, append_images=[noise()])
    broken = bytearray(pages)
    broken[-60:] = bytes(60)
    assert np.array_equal(np.asarray(open_image(bytes(broken))), np.asarray(noise()))


@pytest.mark.parametrize(
    ("limits", "pixels"), [((0.0, 1.0), [[0, 64, 255]]), ((-1.0, 1.0), [[128, 159, 255]])]
)
def test_limits_map_gray_values(limits: tuple[float, float], pixels: list[list[int]]) -> None:
    data = encoded(Image.fromarray(np.array([[0, 0.25, 1]], np.float32)), "TIFF")
    opened = open_image(data, Display(low=limits[0], high=limits[1]))
    assert np.asarray(opened).tolist() == pixels


@pytest.mark.parametrize(
    ("ground", "pixels"), [("black", [[0, 0, 100]]), ("white", [[255, 127, 100]])]
)
def test_the_ground_is_behind_transparent_pixels(ground: Ground, pixels: list[list[int]]) -> None:
    image = Image.fromarray(np.array([[[0, 0], [0, 128], [100, 255]]], np.uint8), "LA")
    assert np.asarray(open_image(encoded(image), Display(ground=ground))).tolist() == pixels
