"""The Samples page with images that somebody brings, and with a SMOTE to sample."""

import time
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from pages.parts.beside import _groups
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import list_runs
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.pictures import SampleRows
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60  # seconds a page may take to draw under a test's load


def samples() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=TIMEOUT).run()
    app.switch_page("pages/samples.py").run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> None:
    next(b for b in app.button if b.label == label).click().run()
    assert not app.exception


def type_in(app: AppTest, label: str, text: str) -> None:
    next(t for t in app.text_input if t.label == label).set_value(text).run()


def captions(app: AppTest) -> str:
    return "\n".join(c.value for c in app.caption)


def test_a_folder_is_brought_watched_and_shown(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs" / "glioma"
    theirs.mkdir(parents=True)
    for k in range(3):
        (theirs / f"{k}.png").write_bytes(png_bytes(np.full((32, 32), 9 * k, np.uint8)))
    app = samples()
    assert "Import images made elsewhere" in [e.label for e in app.expander]
    type_in(app, "Folder on this machine", str(tmp_path / "nothing"))
    press(app, "Import")
    assert "is not a folder; choose one with a folder of images per class" in app.error[0].value
    assert not workspace.synthetic.exists()
    type_in(app, "Folder on this machine", str(theirs.parent))
    press(app, "Import")
    until = time.monotonic() + TIMEOUT
    while list_synthetic(workspace) != ["brought"] and time.monotonic() < until:
        time.sleep(0.2)
    while any(v.live for v in list_runs(workspace)) and time.monotonic() < until:
        time.sleep(0.2)
    app = samples()
    assert not app.error
    told = captions(app)
    origin = (
        f"imported from {theirs.parent}; that their generator was trained on phantom only is "
        "unverified"
    )
    assert f"{origin}; glioma 3." in told
    assert "The first 3 by name, never picked." in told
    assert (
        "None flagged as a near-copy of a training image; copies are also found mirrored, flipped "
        "or turned, as far as the dataset's symmetries allow."
    ) in told
    app.session_state["views"] = "Real or generated?"
    app.run()
    assert not app.error and not app.exception
    assert app.info[-1].value == (
        "The quiz needs 10 real images of glioma, but training set phantom has 9; choose a "
        "synthetic set with more classes."
    )


def test_each_nearest_original_stands_beneath_its_own_image() -> None:
    images = np.arange(25, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8, 1), np.uint8)
    copies = np.arange(25) == 12
    rows = SampleRows(images[:4], images, images, np.arange(25.0), copies)
    groups = _groups(rows)
    assert [len(g.tiles) for g in groups] == [4, 10, 10, 10, 10, 5, 5]
    for above, below in zip(groups[1::2], groups[2::2], strict=True):
        numbers = [[t.id.split()[-1] for t in group.tiles] for group in (above, below)]
        assert numbers[0] == numbers[1]
    nearest = [tile for group in groups[2::2] for tile in group.tiles]
    assert [t.caption for t in nearest[11:14]] == ["11.0", "12.0\n⚠ copy", "13.0"]
    assert [t.id for t in nearest if t.mark == "warn"] == ["nearest to 13"]


def test_a_failed_bringing_says_why(workspace: Workspace, phantom: Dataset, tmp_path: Path) -> None:
    config = {"name": "x", "folder": str(tmp_path / "gone"), "set": "phantom"}
    path = create_run(workspace, "bring", config, name="bring x")
    RunDirectory(path).end("failed", "It is gone.")
    assert [e.value for e in samples().error] == ["bring x: It is gone."]


def test_a_smote_is_sampled_without_options(
    workspace: Workspace, phantom: Dataset, smote: str
) -> None:
    config = TrainConfig.make(smote, "phantom", "quick").model_dump(mode="json")
    path = create_run(workspace, "train", config, name="smote on phantom")
    execute(workspace, RunDirectory(path))
    app = samples()
    assert [n.label for n in app.number_input] == ["Images per class", "Seed"]
    app.switch_page("pages/generators.py").run()
    assert not app.exception and not app.error
    pictures = [caption for i in app.get("image") for caption in i.captions]
    rows = "training images, their blends, and the neighbours on the other side"
    assert [p.partition("; ")[2] for p in pictures] == [rows] * 3
