"""The Data page over images that are not 8 bits: what was done, and how to set it."""

import io
from pathlib import Path

import numpy as np
from opening import opened
from PIL import Image
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace


def import_files(workspace: Workspace, folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    import_dataset(workspace, ImportConfig(name="scans", source=str(folder)), MemoryRun())


def scan(number: int, high: int) -> bytes:
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, high, (16, 16)).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def captions(app: AppTest) -> list[str]:
    return [element.value for element in app.caption]


def rows(app: AppTest) -> list[str]:
    return [element.value for element in app.markdown]


def test_the_page_says_what_was_done_and_lists_blank_images(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = {f"{c}/{k}.png": scan(2 * k + (c == "b"), 4096) for c in "ab" for k in range(4)}
    files["b/blank.png"] = scan(0, 1)
    import_files(workspace, tmp_path / "s", files)
    app = opened("data")
    assert "Gray levels: 12 bits, 0 to 4095 → 0 to 255, the same for all images." in captions(app)
    blank = next(text for text in rows(app) if "Blank images" in text)
    assert blank.startswith(":material/warning: **Blank images**: 1 images")
    dark = next(text for text in rows(app) if "Far darker" in text)
    assert dark.startswith(":material/check: **Far darker than the rest**: 0 images")
    next(b for b in app.button if b.key == "view blank").click().run()
    assert not app.exception
    assert any(text.startswith("**Blank images**, by class.") for text in rows(app))


def test_line_art_gets_one_note(workspace: Workspace, tmp_path: Path) -> None:
    files = {}
    for c in "ab":
        for k in range(4):
            pixels = np.random.default_rng(2 * k + (c == "b")).random((16, 16)) < 0.3
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            files[f"{c}/{k}.png"] = buffer.getvalue()
    import_files(workspace, tmp_path / "s", files)
    text = next(text for text in rows(opened("data")) if "Few gray levels" in text)
    assert text.startswith(":material/info: **Few gray levels**: 0 images")
    assert "8 of 8 images have fewer than 16 gray levels, as line art and masks do" in text


def test_the_form_offers_a_range_and_slices(workspace: Workspace) -> None:
    app = opened("data")
    field = next(f for f in app.text_input if f.label == "Range of gray values")
    assert field.value == "auto"
    field.set_value("5,1").run()
    next(b for b in app.button if b.key == "add built-in").click().run()
    assert not app.exception
    (error,) = app.error
    assert "gray_range='5,1' does not fit ImportConfig" in error.value
    plane = next(s for s in app.selectbox if s.label == "Plane of slices")
    assert plane.options == ["axial", "coronal", "sagittal"]
