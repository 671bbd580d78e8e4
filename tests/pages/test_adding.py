"""The Data page before and after an import: preview, columns, and a failure that goes away."""

from pathlib import Path

import numpy as np
import pytest
from opening import opened
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.worker import execute
from rebalance_core.workspace import Workspace


def png(value: int) -> bytes:
    return png_bytes(np.full((8, 8), value, np.uint8))


def unpack(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


PETS = {f"{c}/{k}.png": png(20 * k + 5 * (c == "dog")) for c in ("cat", "dog") for k in range(3)}


def page_of(source: Path) -> AppTest:
    app = opened("data")
    path = next(t for t in app.text_input if t.label == "Path on this machine")
    app = path.set_value(str(source)).run()
    assert not app.exception
    return app


def would(app: AppTest) -> list[str]:
    return [m.value for m in app.markdown if m.value.startswith("**Would be imported**")]


def test_a_path_comes_first_and_is_previewed(workspace: Workspace, tmp_path: Path) -> None:
    source = unpack(tmp_path / "pets", PETS | {"cat/a.txt": b"x", ".DS_Store": b""})
    app = page_of(source)
    assert app.tabs[0].label == "From a path"
    assert would(app) == ["**Would be imported**: 6 images of 2 classes (train 6)."]
    labels = [expander.label for expander in app.expander]
    assert "2 files are left out, with their reasons" in labels
    assert not workspace.datasets.exists()


def test_what_would_be_refused_is_said_before(workspace: Workspace, tmp_path: Path) -> None:
    app = page_of(unpack(tmp_path / "pets", {"cat/0.png": png(1), "cat/1.png": png(2)}))
    assert would(app) == []
    assert " contains one class, 'cat'; at least two are needed" in app.warning[0].value


def test_columns_are_chosen_where_they_are_not_recognised(
    workspace: Workspace, tmp_path: Path
) -> None:
    table = "picture,kind\n" + "".join(f"{name},{name[:3]}\n" for name in PETS)
    source = unpack(tmp_path / "pets", PETS | {"l.csv": table.encode()}) / "l.csv"
    app = page_of(source)
    assert would(app) == []
    for label, heading in (("Column of the path", "picture"), ("Column of the label", "kind")):
        box = next(b for b in app.selectbox if b.label == label)
        app = box.set_value(heading).run()
    assert would(app) == ["**Would be imported**: 6 images of 2 classes (train 6)."]


def imported(workspace: Workspace, name: str, source: Path) -> RunDirectory:
    config = ImportConfig(name=name, source=str(source)).model_dump()
    return RunDirectory(create_run(workspace, "import", config, name=f"import {name}"))


def shown(app: AppTest) -> list[str]:
    return [error.value for error in app.error]


def test_a_failure_is_dismissed_or_superseded(workspace: Workspace, tmp_path: Path) -> None:
    bad = unpack(tmp_path / "bad", {"cat/0.png": png(1)})
    for name in ("one", "two"):
        with pytest.raises(UserError):
            execute(workspace, imported(workspace, name, bad))
    app = opened("data")
    assert len(shown(app)) == 1 and "import two" in shown(app)[0]
    next(b for b in app.button if b.label == "Dismiss").click().run()
    assert shown(opened("data")) == []
    with pytest.raises(UserError):
        execute(workspace, imported(workspace, "three", bad))
    assert len(shown(opened("data"))) == 1
    execute(workspace, imported(workspace, "pets", unpack(tmp_path / "pets", PETS)))
    assert shown(opened("data")) == []
