"""Hostile names, addresses, pickles: nothing is executed, nothing outside the workspace touched.

Every command and every page is asked, as Typer and the app themselves list them.
"""

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
import typer
from streamlit.testing.v1 import AppTest

sys.path.append(str(Path(__file__).parent / "datasets"))
from sources import folders, take, unpack

from pages.parts.frame import PAGES
from pages.parts.plain import plain
from rebalance_core import cli
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.errors import UserError
from rebalance_core.files import read_json, write_json
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import list_runs, view_run
from rebalance_core.runs.run import RunDirectory, create_run
from rebalance_core.runs.worker import execute
from rebalance_core.workspace import HOME_VARIABLE, Workspace

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = [
    "../../outside/secret", "../outside", "..", ".", "", " ", "/etc/passwd", "a/b", "a\\b", "~/x",
    "x\0y", "x\ny", "-rf", "--help; touch {canary}", "$(touch {canary})", "`touch {canary}`",
    "| touch {canary}", "__import__('os').system('touch {canary}')", "{{7*7}}", "%s%n", "CON",
    "%2e%2e%2foutside", "‮gnp", "é" * 300, "x" * 5000, "<script>alert(1)</script>",
    "![x](https://example.org/x.png)", "*", "../*", "[a-z]*",
]  # fmt: skip
# What the person names is theirs to read and write: no place for these tests.
NAMED_BY_PERSON = {"source", "folder"}


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def everything(root: Path) -> dict[str, str]:
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(root.rglob("*"))
    }


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Must never come into being."""
    return tmp_path / "outside" / "canary"


@pytest.fixture
def home(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with a dataset, a set and runs that ended, beside what is no part of it; at the
    end all of that is as it was."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "secret.json").write_text('{"config": {"dataset": "pets"}}')
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "in" / "home"))
    monkeypatch.chdir(outside)
    workspace = Workspace.here()
    take(workspace, unpack(tmp_path / "source", folders({"cat": 9, "dog": 5})), "pets")
    write_json(workspace.sets / "pets-set.json", {"config": {"dataset": "pets"}})
    for kind in ("train", "sample"):
        path = create_run(workspace, kind, {"set": "pets", "name": "made", "run": "x"}, name=kind)
        write_json(path / "state.json", {**read_json(path / "state.json"), "status": "failed"})
    before = {k: v for k, v in everything(tmp_path).items() if "/in/" not in k}
    yield workspace
    assert {k: v for k, v in everything(tmp_path).items() if "/in/" not in k} == before
    assert not canary.exists()


def commands() -> Iterator[tuple[list[str], click.Command]]:
    """Every command with the words that call it."""

    def walk(words: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk([*words, name], inner)
        if command.callback is not None and words:
            yield words, command

    yield from walk([], typer.main.get_command(cli.app))


def valid(parameter: click.Parameter, workspace: Workspace) -> str:
    told = {
        "name": "fresh", "dataset": "pets", "set_name": "pets", "generator": "ddpm", "arm": "none",
        "pose": "axial", "new": "coronal", "text": "a note", "network": "vgg16",
        "source": str(workspace.root / "nothing"), "folder": str(workspace.root / "out"),
        "run_id": list_runs(workspace)[0].id, "other_id": list_runs(workspace)[0].id,
    }  # fmt: skip
    return told[str(parameter.name)]


COMMANDS = {" ".join(words): command for words, command in commands()}


def test_every_command_is_among_them() -> None:
    assert len(COMMANDS) >= 31
    assert {"runs remove", "datasets add", "sets make", "poses move", "doctor"} <= COMMANDS.keys()


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_given_hostile_names_refuses_or_takes_them_as_mere_text(
    home: Workspace, canary: Path, words: str
) -> None:
    arguments = [p for p in COMMANDS[words].params if isinstance(p, click.Argument)]
    reached = 0
    for hostile in HOSTILE:
        text = hostile.replace("{canary}", str(canary))
        for tried in arguments:
            if tried.name in NAMED_BY_PERSON:
                continue
            given = [text if p is tried else valid(p, home) for p in arguments]
            try:
                # After `--`, as a person would have to type what begins with a dash.
                cli.app([*words.split(), "--", *given], standalone_mode=False)
                reached += 1
            except UserError:
                reached += 1
            except (click.exceptions.ClickException, click.exceptions.Abort, SystemExit):
                pass
    asked = [p for p in arguments if p.name not in NAMED_BY_PERSON]
    assert reached >= len(HOSTILE) // 2 * bool(asked), "the names came as far as our own code"
    names = [p.name for p in (*home.datasets.iterdir(), *home.sets.iterdir())]
    assert sorted(n for n in names if not n.startswith(".")) == ["pets", "pets-set.json"]
    assert [v.kind for v in list_runs(home)] == ["sample", "train"], "nothing was started"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_given_hostile_addresses_stays_in_the_workspace(
    home: Workspace, canary: Path, page: str
) -> None:
    for hostile in HOSTILE[:-4:3]:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for key in ("run", "dataset", "set", "synthetic", "page"):
            app.query_params[key] = hostile.replace("{canary}", str(canary))
        app.run()
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception, (page, hostile, app.exception)
        assert "secret" not in " ".join(str(e.value) for e in (*app.markdown, *app.error))


@pytest.mark.parametrize("form", ["zip", "legacy", "raw"])
def test_a_hostile_checkpoint_is_refused_and_not_run(
    home: Workspace, canary: Path, form: str
) -> None:
    config = TrainConfig.make("ddpm", "pets", "quick", steps=1, batch_size=4)
    path = create_run(home, "train", config.model_dump(mode="json"), name="evil")
    (path / "checkpoints").mkdir()
    target = path / "checkpoints" / "000007.pt"
    evil = {"state": Evil(canary), "metrics_size": 0}
    if form == "raw":
        target.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, target, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"No checkpoint in \S+ can be read"):
        execute(home, RunDirectory(path))
    assert view_run(path).status == "failed"
    assert not canary.exists()


@pytest.mark.parametrize("file", ["arrays/16-pad.npy", "near.npz"])
def test_pickles_in_a_dataset_are_not_run(home: Workspace, canary: Path, file: str) -> None:
    path = home.datasets / "pets" / file
    path.parent.mkdir(exist_ok=True)
    evil = np.array([Evil(canary)], dtype=object)
    if file.endswith(".npz"):
        np.savez(path, pairs=evil, difference=evil)
        with pytest.raises(UserError, match="near-duplicates cannot be read"):
            open_dataset(home, "pets").near  # noqa: B018
    else:
        np.save(path, evil, allow_pickle=True)
        assert open_dataset(home, "pets").array(16).shape == (14, 16, 16, 1)
    assert not canary.exists()


def test_a_hostile_run_record_leads_nowhere(home: Workspace, canary: Path) -> None:
    """A run that somebody put into the workspace by hand."""
    path = create_run(home, "sample", {"run": "../../outside", "name": "../../outside"}, name="x")
    with pytest.raises(UserError):
        execute(home, RunDirectory(path))
    path = create_run(home, "train", {"set": "../../outside/secret", "generator": "ddpm"}, name="x")
    with pytest.raises(UserError):
        execute(home, RunDirectory(path))
    path = create_run(home, "import", {"source": str(home.uploads / ".." / ".."), "name": "x"},
                      name="x")  # fmt: skip
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "failed"})
    cli.app(["runs", "remove", path.name, "--yes"], standalone_mode=False)
    assert open_dataset(home, "pets").counts()


def test_a_class_whose_name_would_fetch_a_picture_is_refused(
    home: Workspace, tmp_path: Path
) -> None:
    images = folders({"![x](https:example.org)": 3, "dog": 3})
    with pytest.raises(UserError, match="cannot be a folder's name"):
        take(home, unpack(tmp_path / "in" / "source", images), "new")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](https://example.org/x.png)", r"!\[x\](https\://example.org/x.png)"),
        ("a `b` *c* <d> \\", r"a \`b\` \*c\* \<d\> \\"),
        ("Run x is done; 3 of 4.", "Run x is done; 3 of 4."),
    ],
)
def test_text_of_others_is_shown_as_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_what_is_told_of_hostile_names_is_one_object(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a run is called, the command line prints one JSON object."""
    run = list_runs(home)[0].id
    hostile = '"}\\u0000 {{ <b> ]'
    cli.app(["runs", "rename", run, hostile, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["name"] == hostile
