"""Importing images generated elsewhere: exact counts, and refusals that leave nothing behind."""

import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "datasets"))
from commands import command
from sources import contents, refusal, unpack

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.removal import dataset_dependents, run_dependents
from rebalance_core.runs.directory import RunDirectory, create_run, find_run
from rebalance_core.runs.executor import list_runs, remove_run, view_run
from rebalance_core.runs.lineage import parents
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.runs.start import check_config
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.external import ExternalConfig, import_external
from rebalance_core.synthesis.synthetic_set import list_synthetic, open_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_set
from rebalance_core.workspace import Workspace

CLASSES = "glioma, meningioma, notumor, pituitary"  # the phantom's
SIDE = 8


def gray(value: int, side: int = SIDE) -> bytes:
    return png_bytes(np.full((side, side), value, np.uint8))


def stored(pixels: np.ndarray, form: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **how)
    return buffer.getvalue()


def coloured(*values: int) -> bytes:
    return stored(np.full((SIDE, SIDE, 3), values, np.uint8))


GOOD = {"glioma/a.png": gray(1), "glioma/b.png": gray(2), "pituitary/c.png": gray(3)}


def bring(workspace: Workspace, folder: Path, run: MemoryRun | None = None) -> dict[str, list[int]]:
    """{class: the first value of each imported image}, in the order of the set."""
    synthetic = import_external(workspace, "made", folder, "phantom", run or MemoryRun())
    return {label: synthetic.images(label)[:, 0, 0, 0].tolist() for label in synthetic.counts}


def test_every_image_is_copied_by_class_in_the_order_of_names(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    files = {
        **GOOD,
        "glioma/B.PNG": gray(7),
        "pituitary/deeper/d.png": gray(4),
        "notumor/x.bmp": stored(np.full((SIDE, SIDE), 5, np.uint8), "BMP"),
        # none of these is an image of a class
        "notes.txt": b"x",
        "glioma/readme.md": b"x",
        "glioma/.hidden.png": b"x",
        ".cache/a.png": b"x",
        "__MACOSX/glioma/a.png": b"x",
        "glioma/@eaDir/a.png": b"x",
    }
    folder = unpack(tmp_path / "theirs", files)
    (folder / "meningioma").mkdir()
    before = contents(folder)
    run = MemoryRun()
    synthetic = import_external(workspace, "made", folder, "phantom", run, "a run")
    assert contents(folder) == before
    assert synthetic.counts == {"glioma": 3, "notumor": 1, "pituitary": 2}
    files_written = sorted(
        p.relative_to(synthetic.path).as_posix() for p in synthetic.path.rglob("*.*")
    )
    assert files_written == [
        "glioma/000000.png",
        "glioma/000001.png",
        "glioma/000002.png",
        "notumor/000000.png",
        "pituitary/000000.png",
        "pituitary/000001.png",
        "provenance.json",
    ]
    values = {label: synthetic.images(label)[:, 0, 0, 0].tolist() for label in synthetic.counts}
    assert values == {"glioma": [7, 1, 2], "notumor": [5], "pituitary": [3, 4]}
    assert synthetic.images("glioma").shape == (3, SIDE, SIDE, 1)
    provenance = read_json(synthetic.path / "provenance.json")
    assert provenance.pop("training_set")["name"] == "phantom"
    assert provenance.pop("created") > 0
    assert provenance == {
        "generator": "folder",
        "run": None,
        "bring_run": "a run",
        "believed": True,
        "training": None,
        "source": str(folder),
        "seed": 0,
        "sampler": {},
        "size": SIDE,
        "counts": {"glioma": 3, "notumor": 1, "pituitary": 2},
        "filters": [],
    }
    synthetic.check_fits(open_set(workspace, "phantom"))
    assert synthetic.origin == (
        f"imported from {folder}; that their generator was trained on phantom only is unverified"
    )
    assert run.fraction == 1.0


def test_images_are_converted_to_the_channels_of_the_dataset(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    """Colour files with equal channels, 16-bit, palette and rotated images."""
    turned = np.zeros((SIDE, SIDE), np.uint8)
    turned[:, -1] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees: the right column becomes the lowest row
    files = {
        "glioma/1.png": coloured(60, 60, 60),
        "glioma/2.png": stored(np.full((SIDE, SIDE), 65535, np.uint16)),
        "glioma/3.jpg": stored(np.full((SIDE, SIDE, 3), 90, np.uint8), "JPEG"),
        "glioma/4.png": stored(turned, exif=exif),
    }
    folder = unpack(tmp_path / "theirs", files)
    assert bring(workspace, folder)["glioma"] == [60, 255, 90, 0]
    upright = open_synthetic(workspace, "made").images("glioma")[3, :, :, 0]
    assert upright[-1].tolist() == [200] * SIDE
    assert upright[0].tolist() == [0] * SIDE


def test_a_gray_image_gets_the_channels_of_a_colour_dataset(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = {
        f"{c}/{k}.png": coloured(9 * k, 200, 90 + i) for i, c in enumerate("ab") for k in range(9)
    }
    folder = unpack(tmp_path / "pets", source)
    import_dataset(workspace, ImportConfig(name="pets", source=str(folder)), MemoryRun())
    folder = unpack(tmp_path / "theirs", {"a/1.png": gray(9), "a/2.png": coloured(1, 2, 3)})
    synthetic = import_external(workspace, "made", folder, "pets", MemoryRun())
    assert synthetic.images("a")[:, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]


HUGE = b"8BPS\0\1"  # a form whose decoder stays shut
BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "no image": (
        {},
        "{folder} does not contain images; choose one with a folder of images per class.",
    ),
    "no class folder": (
        {"a.png": gray(1)},
        "{folder}: image 'a.png' is not in a class folder; the layout is <class>/*.png.",
    ),
    "another class": (
        {"cat/a.png": gray(1)},
        f"{{folder}}: 'cat' is not a class of training set phantom ({CLASSES}); rename or "
        "remove that folder.",
    ),
    "another case": (
        {"Glioma/a.png": gray(1)},
        f"{{folder}}: 'Glioma' is not a class of training set phantom ({CLASSES}); rename or "
        "remove that folder.",
    ),
    "an odd name of a class": (
        {"](x)/a.png": gray(1)},
        f"{{folder}}: '](x)' is not a class of training set phantom ({CLASSES}); rename or "
        "remove that folder.",
    ),
    "an empty file": (
        {"pituitary/z.png": b""},
        "{folder}: image 'pituitary/z.png' cannot be imported: the file is empty.",
    ),
    "a torn file": (
        {"glioma/0.png": gray(1)[:50]},
        "{folder}: image 'glioma/0.png' cannot be imported: ",
    ),
    "no picture": (
        {"glioma/0.png": b"<svg onload='alert(1)'/>"},
        "{folder}: image 'glioma/0.png' cannot be imported: cannot identify image file.",
    ),
    "a decoder that stays shut": (
        {"glioma/0.png": HUGE + b"\0"},
        "{folder}: image 'glioma/0.png' cannot be imported: cannot identify image file.",
    ),
    "no square": (
        {"pituitary/z.png": png_bytes(np.zeros((8, 9), np.uint8))},
        "{folder}: image 'pituitary/z.png' cannot be imported: 9×8 pixels is not square.",
    ),
    "another size": (
        {"pituitary/z.png": gray(1, 9)},
        "{folder}: image 'pituitary/z.png' cannot be imported: its side is 9 px, "
        "that of 'glioma/a.png' 8; resize all images to one size.",
    ),
    "too small": (
        {"glioma/0.png": gray(1, 3)},
        "{folder}: image 'glioma/0.png' cannot be imported: 3 pixels per side is not between 4 and "
        "1024.",
    ),
    "too large": (
        {"glioma/0.png": gray(1, 1025)},
        "{folder}: image 'glioma/0.png' cannot be imported: 1025 pixels per side is not between 4 "
        "and 1024.",
    ),
    "far too large": (
        {"glioma/0.png": stored(np.zeros((7100, 7100), np.uint8))},
        "{folder}: image 'glioma/0.png' cannot be imported: 7100×7100 pixels are more than "
        "50000000.",
    ),
    "in colour": (
        {"pituitary/z.png": coloured(200, 20, 20)},
        "{folder}: image 'pituitary/z.png' cannot be imported: it is in colour, and the dataset is "
        "gray.",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_invalid_folders_are_refused_and_leave_nothing_behind(
    how: str, workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    files, sentence = BAD[how]
    folder = unpack(tmp_path / "theirs", files if how == "no image" else {**GOOD, **files})
    folder.mkdir(exist_ok=True)
    before = [name for name in contents(workspace.root) if name != "synthetic"]
    with pytest.raises(UserError) as excinfo:
        bring(workspace, folder)
    expected = sentence.format(folder=folder)
    assert str(excinfo.value).startswith(expected)
    assert str(excinfo.value) == expected or how == "a torn file"
    assert "\n" not in str(excinfo.value)
    assert [name for name in contents(workspace.root) if name != "synthetic"] == before


def test_a_sparse_file_is_refused_without_reading_it(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    folder = unpack(tmp_path / "theirs", GOOD)
    with (folder / "glioma" / "0.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError) as excinfo:
        bring(workspace, folder)
    assert str(excinfo.value) == (
        f"{folder}: image 'glioma/0.png' cannot be imported: it is larger than 256 MB."
    )


def test_links_are_never_followed(workspace: Workspace, phantom: Dataset, tmp_path: Path) -> None:
    outside = unpack(tmp_path / "outside", {"secret.png": gray(99), "cat/b.png": gray(98)})
    folder = unpack(tmp_path / "theirs", GOOD)
    (folder / "glioma" / "0.png").symlink_to(outside / "secret.png")
    (folder / "glioma" / "gone.png").symlink_to(outside / "nothing.png")
    (folder / "glioma" / "all").symlink_to(outside)
    (folder / "notumor").symlink_to(outside)
    (folder / "cat").symlink_to(outside / "cat")
    (folder / "glioma" / "round").symlink_to(folder)
    os.mkfifo(folder / "glioma" / "pipe.png")
    assert bring(workspace, folder) == {"glioma": [1, 2], "pituitary": [3]}


def test_several_processes_keep_the_order_of_images(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    files = {f"{c}/{k:03d}.png": gray(k % 251) for c in ("glioma", "notumor") for k in range(300)}
    values = bring(workspace, unpack(tmp_path / "theirs", files))
    assert values == {c: [k % 251 for k in range(300)] for c in ("glioma", "notumor")}


def test_a_stop_leaves_nothing_behind(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    folder = unpack(tmp_path / "theirs", {f"glioma/{k:03d}.png": gray(k) for k in range(100)})
    for after in (0, 1, 3):
        with pytest.raises(Cancelled):
            bring(workspace, folder, MemoryRun(stop_after=after))
        assert list(workspace.synthetic.iterdir()) == []
    assert bring(workspace, folder) == {"glioma": list(range(100))}


@pytest.mark.parametrize(
    ("name", "folder", "set_name", "sentence"),
    [
        ("../x", ".", "phantom", "'../x' cannot be used as a synthetic set name"),
        ("made", ".", "phantom", "Synthetic set 'made' already exists; choose another name."),
        ("new", ".", "cats", "There is no training set or dataset 'cats' (there is: phantom)."),
        ("new", "nowhere", "phantom", "is not a folder; choose one with a folder of images per"),
        ("new", "~nobody-of-that-name/x", "phantom", "is not a readable folder"),
        ("new", "x" * 5000, "phantom", "is not a readable folder"),
        ("new", "a\0b", "phantom", "is not a readable folder"),
    ],
)
def test_invalid_arguments_are_refused_before_any_work(
    name: str, folder: str, set_name: str, sentence: str, workspace: Workspace, phantom: Dataset
) -> None:
    (workspace.synthetic / "made").mkdir(parents=True)
    with pytest.raises(UserError) as excinfo:
        check_config(workspace, ExternalConfig(name=name, folder=folder, set=set_name))
    assert sentence in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def brought_by_a_run(workspace: Workspace, folder: Path, set_name: str) -> str:
    config = check_config(workspace, ExternalConfig(name="made", folder=str(folder), set=set_name))
    path = create_run(workspace, "bring", config.model_dump(mode="json"), name="bring made")
    execute(workspace, RunDirectory(path))
    return path.name


def test_a_run_imports_a_set_and_is_part_of_the_lineage(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    make_set(workspace, "rare", SetConfig(dataset="phantom", skew="glioma=5"))
    run = brought_by_a_run(workspace, unpack(tmp_path / "theirs", GOOD), "rare")
    assert view_run(workspace.runs / run).result == {"synthetic": "made"}
    synthetic = open_synthetic(workspace, "made")
    assert synthetic.provenance.bring_run == run
    assert synthetic.training_set.name == "rare"
    # its images depend on the dataset, and on the run
    views = list_runs(workspace)
    assert parents(workspace, views) == {run: []}
    assert dataset_dependents(workspace, "phantom").summary == (
        "training sets rare; 1 run; synthetic sets made"
    )
    assert run_dependents(workspace, run).synthetic == ("made",)
    # one that was killed after its last step has nothing left to do
    execute(workspace, RunDirectory(workspace.runs / run))
    assert list_synthetic(workspace) == ["made"]
    remove_run(workspace, run)
    assert list_synthetic(workspace) == ["made"]
    with pytest.raises(UserError, match="no run named None"):
        find_run(workspace, None)


def test_no_run_is_found_by_no_name(workspace: Workspace) -> None:
    create_run(
        workspace, "bring", ExternalConfig(name="a", folder="b", set="c").model_dump(), name="x"
    )
    for name in (None, ""):
        with pytest.raises(UserError) as excinfo:
            find_run(workspace, name)
        assert str(excinfo.value) == (
            f"no run named {name!r} in {workspace.runs}; `runs list` shows them."
        )


def test_a_cancelled_run_leaves_nothing_behind_and_can_be_resumed(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    config = check_config(
        workspace,
        ExternalConfig(name="made", folder=str(unpack(tmp_path / "t", GOOD)), set="phantom"),
    )
    path = create_run(workspace, "bring", config.model_dump(mode="json"), name="bring made")
    (path / "cancel").touch()
    with pytest.raises(Cancelled):
        execute(workspace, RunDirectory(path))
    assert list(workspace.synthetic.iterdir()) == []
    assert view_run(path).status == "cancelled"
    (path / "cancel").unlink()
    execute(workspace, RunDirectory(path))
    assert open_synthetic(workspace, "made").counts == {"glioma": 2, "pituitary": 1}


def test_commands_add_list_show_and_remove(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    home = workspace.root
    folder = unpack(tmp_path / "theirs", GOOD)

    def run_json(*arguments: object) -> dict[str, Any]:
        done = command(home, "synthetic", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    about = {
        "synthetic": "made",
        "generator": "folder",
        "set": "phantom",
        "dataset": "phantom",
        "believed": True,
        "generator_run": None,
        "source": str(folder),
        "seed": 0,
        "sampler": {},
        "size": SIDE,
        "counts": {"glioma": 2, "pituitary": 1},
        "filters": [],
        "path": str(home / "synthetic" / "made"),
    }
    added = run_json("add", "made", folder, "phantom")
    (run,) = list_runs(workspace, "bring")
    assert added == {"run": run.id, **about}
    assert run_json("show", "made") == about
    (home / "synthetic" / "spoilt").mkdir()
    (home / "synthetic" / "spoilt" / "provenance.json").write_text("{}")
    short = {k: about[k] for k in ("generator", "set", "size", "counts")}
    assert run_json("list") == {
        "synthetic": {
            "made": short,
            "spoilt": f"{home / 'synthetic' / 'spoilt' / 'provenance.json'} is damaged "
            "(generator: field required); remove the synthetic set.",
        }
    }
    assert refusal(command(home, "synthetic", "add", "made", folder, "phantom", "--json")) == (
        "Synthetic set 'made' already exists; choose another name."
    )
    unconfirmed = command(home, "synthetic", "remove", "made", "--json", typed="n\n")
    assert (unconfirmed.returncode, unconfirmed.stdout) == (1, "")
    assert "Remove synthetic set made with all its images? [y/N]: " in unconfirmed.stderr
    assert run_json("remove", "spoilt", "--yes") == {"removed": "spoilt"}
    assert run_json("remove", "made", "--yes") == {"removed": "made"}
    assert run_json("list") == {"synthetic": {}}
    assert Counter(v.kind for v in list_runs(workspace)) == {"bring": 1}
