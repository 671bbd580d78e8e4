"""Hostile names, addresses, pickles: nothing is executed, nothing outside the workspace touched.

Every command and every page is asked, as Typer and the app themselves list them.
"""

import hashlib
import io
import json
import os
import pickle
import stat
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from streamlit.testing.v1 import AppTest

sys.path.append(str(Path(__file__).parent / "datasets"))
from sources import folders, import_source, unpack

from pages.parts.frame import PAGES
from pages.parts.markdown import escape_markdown
from rebalance_core import cli
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.duplicates import load_near_pairs
from rebalance_core.datasets.importing import save_upload
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_spec, generator_specs
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.clustering import cluster_poses, open_clustering, recluster
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import list_runs, view_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import HOME_VARIABLE, Workspace

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = [
    "../../outside/secret",
    "../outside",
    "..",
    ".",
    "",
    " ",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "~/x",
    "x\0y",
    "x\ny",
    "-rf",
    "--help; touch {canary}",
    "$(touch {canary})",
    "`touch {canary}`",
    "| touch {canary}",
    "__import__('os').system('touch {canary}')",
    "{{7*7}}",
    "%s%n",
    "CON",
    "%2e%2e%2foutside",
    "‮gnp",
    "é" * 300,
    "x" * 5000,
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png)",
    "*",
    "../*",
    "[a-z]*",
]
# What the person names is theirs to read and write: no place for these tests.
NAMED_BY_PERSON = {"file", "target", "source", "folder", "images", "from_report"}
# What Typer raises over a command line that it cannot read; some versions bring their own click.
USAGE = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def save_evil(target: Path, canary: Path, form: str) -> None:
    """A checkpoint that touches the canary, in one of torch's two formats or as a bare pickle."""
    evil = {"state": Evil(canary), "metrics_size": 0}
    if form == "raw":
        target.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, target, _use_new_zipfile_serialization=form == "zip")


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
    workspace = Workspace.from_environment()
    import_source(workspace, unpack(tmp_path / "source", folders({"cat": 9, "dog": 5})), "pets")
    write_json(workspace.sets / "pets-set.json", {"config": {"dataset": "pets"}})
    training = TrainConfig.make("ddpm", "pets", "quick").model_dump(mode="json")
    for kind, config in (("train", training), ("sample", {"name": "made", "run": "x"})):
        path = create_run(workspace, kind, config, name=kind)
        write_json(path / "state.json", {**read_json(path / "state.json"), "status": "failed"})
    before = {k: v for k, v in everything(tmp_path).items() if "/in/" not in k}
    yield workspace
    assert {k: v for k, v in everything(tmp_path).items() if "/in/" not in k} == before
    assert not canary.exists()


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command with the words that call it."""

    def walk(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk([*words, name], inner)
        if command.callback is not None and words:
            yield words, command

    yield from walk([], typer.main.get_command(cli.app))


def valid(parameter: Any, workspace: Workspace) -> str:
    told = {
        "name": "fresh",
        "dataset": "pets",
        "set_name": "pets",
        "generator": "ddpm",
        "arm": "none",
        "pose": "axial",
        "new": "coronal",
        "text": "a note",
        "network": "vgg16",
        "start_class": "cat",
        "end_class": "dog",
        "label": "cat",
        "synthetic_name": "made",
        "answers": "r,g",
        "file": str(workspace.root / "out.png"),
        "target": str(workspace.root / "out"),
        "source": str(workspace.root / "nothing"),
        "folder": str(workspace.root / "out"),
        "images": str(workspace.root / "nothing.png"),
        "run_id": list_runs(workspace)[0].id,
        "other_id": list_runs(workspace)[0].id,
    }
    return told[str(parameter.name)]


COMMANDS = {" ".join(words): command for words, command in commands()}


def assert_unchanged(home: Workspace, *names: str) -> None:
    """The workspace has these datasets and sets and no others, and no run was started."""
    present = [p.name for p in (*home.datasets.iterdir(), *home.sets.iterdir())]
    assert sorted(name for name in present if not name.startswith(".")) == sorted(names)
    assert [v.kind for v in list_runs(home)] == ["sample", "train"], "nothing was started"


def test_every_command_is_among_them() -> None:
    assert len(COMMANDS) >= 31
    assert {"runs remove", "datasets add", "sets make", "poses move", "doctor"} <= COMMANDS.keys()
    arguments = {
        p.name
        for command in COMMANDS.values()
        for p in command.params
        if p.param_type_name == "argument"
    }
    assert {"name", "dataset", "set_name", "run_id", "pose", "text"} <= arguments


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_given_hostile_names_refuses_or_takes_them_as_mere_text(
    home: Workspace, canary: Path, words: str
) -> None:
    arguments = [p for p in COMMANDS[words].params if p.param_type_name == "argument"]
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
            except (USAGE, typer.Abort, SystemExit):
                pass
    asked = [p for p in arguments if p.name not in NAMED_BY_PERSON]
    assert reached >= len(HOSTILE) // 2 * bool(asked), "the names came as far as our own code"
    assert_unchanged(home, "pets", "pets-set.json")


OPTIONS = {
    f"{words} {option.opts[0]}": (words, option)
    for words, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and not getattr(option, "is_flag", False)
    if option.name not in NAMED_BY_PERSON and words != "app"  # which listens where it is told
}


def test_the_options_of_every_command_are_among_them() -> None:
    assert len(OPTIONS) >= 40, sorted(OPTIONS)
    assert {
        "sets make --poses",
        "train --set",
        "train --continue",
        "sample --class",
        "compare --schedules",
        "poses move --image",
    } <= OPTIONS.keys()


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_given_hostile_text_refuses_it(
    home: Workspace, canary: Path, option: str
) -> None:
    words, tried = OPTIONS[option]
    arguments = [p for p in COMMANDS[words].params if p.param_type_name == "argument"]
    given = [valid(p, home) for p in arguments]
    for hostile in HOSTILE[::3]:
        text = hostile.replace("{canary}", str(canary))
        with suppress(UserError, USAGE, typer.Abort):
            called = [*words.split(), f"{tried.opts[0]}={text}", "--", *given]
            cli.app(called, standalone_mode=False)
    assert_unchanged(home, "pets", "pets-set.json")


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


WITHOUT_TEXT = ("Check torch and the device", "Resume", "Cluster", "Train")
TYPED = ["../../outside/secret", "x\0y", "$(touch {canary})", "<script>alert(1)</script>", "*"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_given_hostile_text_refuses_it_or_takes_it_as_mere_text(
    home: Workspace, canary: Path, page: str
) -> None:
    """Every field is filled with it, then every button pressed that takes what was typed."""
    (home.sets / "pets-set.json").unlink()  # no real one: every page would tell of it alone
    fields = 0
    for hostile in TYPED:
        text = hostile.replace("{canary}", str(canary))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        app.switch_page(f"pages/{page}.py")
        app.session_state["details"] = "Name and note"  # of the parts, the one with fields
        app.run()
        for label in [b.label for b in app.button if not b.disabled]:
            filled = [f for f in (*app.text_input, *app.text_area) if not f.disabled]
            for field in filled:
                field.set_value(text)
            fields += len(filled)
            app.run()
            assert not app.exception, (page, hostile, app.exception)
            button = next((b for b in app.button if b.label == label and not b.disabled), None)
            if button is not None and label not in WITHOUT_TEXT:
                button.click().run()
                assert not app.exception, (page, hostile, label, app.exception)
    assert fields or page in ("home", "samples", "settings"), "nothing to type in"
    assert_unchanged(home, "pets")


def hostile_zip(path: Path, kind: str, canary: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in folders({"cat": 3, "dog": 3}).items():
            archive.writestr(name, data)
        if kind == "leaves":
            archive.writestr("../../outside/canary", b"x")
        elif kind == "absolute":
            archive.writestr(str(canary), b"x")
        elif kind == "link":
            link = zipfile.ZipInfo("cat/link.png")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "../../../outside/secret")
        elif kind == "bomb":
            archive.writestr("cat/zeros.png", bytes(20_000_000), zipfile.ZIP_DEFLATED)
        else:
            archive.writestr("cat/x.png", pickle.dumps(Evil(canary)))
            archive.writestr("cat/y.pkl", pickle.dumps(Evil(canary)))
    return path


@pytest.mark.parametrize("kind", ["leaves", "absolute", "link", "bomb", "pickle"])
def test_a_hostile_archive_that_is_dropped_on_the_page_does_no_harm(
    home: Workspace, tmp_path: Path, canary: Path, kind: str
) -> None:
    """Up to the job that reads it; the command line and the importer are asked in
    `datasets/test_bad_input.py`."""
    data = hostile_zip(tmp_path / "in" / "evil.zip", kind, canary).read_bytes()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/data.py").run()
    app.file_uploader[0].set_value(("evil.zip", data, "application/zip")).run()
    next(b for b in app.button if b.key == "add files").click().run()
    assert not app.exception
    view = list_runs(home, "import")[0]
    while view.live:
        time.sleep(0.05)
        view = view_run(view.path)
    if kind == "pickle":  # a file among others that is no image: listed, and left out
        assert (view.status, open_dataset(home, "evil").counts()) == (
            "done",
            {"train": {"cat": 3, "dog": 3}},
        )
    else:
        assert view.status == "failed"
        assert view.state.reason.count(". ") == 0, "one sentence"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_dropped_file_of_a_hostile_name_stays_in_the_workspace(
    home: Workspace, canary: Path, hostile: str
) -> None:
    name = hostile.replace("{canary}", str(canary))
    for files in ([f"{name}.png", "t.csv"], [f"{name}/cat/1.png", f"{name}/dog/1.png"]):
        with suppress(UserError):
            save_upload(home, [(file, io.BytesIO(b"x")) for file in files])


@pytest.mark.parametrize("form", ["zip", "legacy", "raw"])
def test_a_hostile_checkpoint_is_refused_and_not_run(
    home: Workspace, canary: Path, form: str
) -> None:
    config = TrainConfig.make("ddpm", "pets", "quick", steps=1, batch_size=4)
    path = create_run(home, "train", config.model_dump(mode="json"), name="evil")
    (path / "checkpoints").mkdir()
    save_evil(path / "checkpoints" / "000007.pt", canary, form)
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
        np.savez(path, near=evil)
        with pytest.raises(UserError, match="near-duplicates cannot be read"):
            load_near_pairs(open_dataset(home, "pets"))
    else:
        np.save(path, evil, allow_pickle=True)
        assert open_dataset(home, "pets").array(16).shape == (14, 16, 16, 1)
    assert not canary.exists()


def test_pickles_among_poses_are_not_run(home: Workspace, canary: Path) -> None:
    """Points that were clustered and are clustered anew with another k."""
    import_source(home, "phantom", "phantom", count=60, size=32)
    dataset = open_dataset(home, "phantom")
    cluster_poses(dataset, PosesConfig(dataset="phantom", k=2), MemoryRun())
    evil = np.array([Evil(canary)], dtype=object)
    np.save(open_clustering(dataset).path / "points.npy", evil, allow_pickle=True)
    with pytest.raises(UserError, match="it cannot be read"):
        recluster(dataset, 3)
    assert not canary.exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "raw"])
def test_a_hostile_checkpoint_of_a_run_that_is_continued_is_not_run(
    home: Workspace, canary: Path, form: str
) -> None:
    parent = create_run(home, "train", {}, name="evil")
    (parent / "checkpoints").mkdir()
    save_evil(parent / "checkpoints" / "000007.pt", canary, form)
    (parent / "metrics.jsonl").touch()
    config = TrainConfig.make("bagan-gp", "pets", "quick", steps=1, batch_size=4)
    values = {**config.model_dump(mode="json"), "continues": parent.name}
    path = create_run(home, "train", values, name="goes on")
    with pytest.raises(Exception, match=r"."):  # whatever the reader says of it
        execute(home, RunDirectory(path))
    assert view_run(path).status == "failed"
    assert not canary.exists()


@pytest.mark.parametrize("generator", generator_specs())
def test_a_generators_folder_of_pickles_is_refused_and_not_run(
    home: Workspace, tmp_path: Path, canary: Path, generator: str
) -> None:
    """The names under which libraries look for pickled weights, where they look for them."""
    folder = tmp_path / "in" / "evil"
    for name in (
        "pytorch_model.bin",
        "diffusion_pytorch_model.bin",
        "model.pt",
        "model.pkl",
        "model.safetensors",
        "diffusion_pytorch_model.safetensors",
    ):
        for place in (folder, folder / "class-0" / "unet"):
            place.mkdir(parents=True, exist_ok=True)
            save_evil(place / name, canary, "zip")
            write_json(place / "config.json", {"sample_size": 32})
    write_json(folder / "ddpm.json", {"classes": ["cat"], "config": {}})
    with pytest.raises(UserError):
        generator_spec(generator).generator_class().load(folder)
    assert not canary.exists()


def test_a_hostile_run_record_leads_nowhere(home: Workspace, canary: Path) -> None:
    """A run that somebody put into the workspace by hand."""
    path = create_run(home, "sample", {"run": "../../outside", "name": "../../outside"}, name="x")
    with pytest.raises(UserError):
        execute(home, RunDirectory(path))
    path = create_run(home, "train", {"set": "../../outside/secret", "generator": "ddpm"}, name="x")
    with pytest.raises(UserError):
        execute(home, RunDirectory(path))
    path = create_run(
        home, "import", {"source": str(home.uploads / ".." / ".."), "name": "x"}, name="x"
    )
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "failed"})
    cli.app(["runs", "remove", path.name, "--yes"], standalone_mode=False)
    assert open_dataset(home, "pets").counts()


def test_a_class_whose_name_would_fetch_a_picture_is_refused(
    home: Workspace, tmp_path: Path
) -> None:
    images = folders({"![x](https:example.org)": 3, "dog": 3})
    with pytest.raises(UserError, match="is not a valid folder name"):
        import_source(home, unpack(tmp_path / "in" / "source", images), "new")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](https://example.org/x.png)", r"!\[x\](https\://example.org/x.png)"),
        ("a `b` *c* <d> \\", r"a \`b\` \*c\* \<d\> \\"),
        ("Run x is done; 3 of 4.", "Run x is done; 3 of 4."),
    ],
)
def test_text_of_others_is_shown_as_it_is(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_what_is_told_of_hostile_names_is_one_object(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a run is called, the command line prints one JSON object."""
    run = list_runs(home)[0].id
    hostile = '"}\\u0000 {{ <b> ]'
    cli.app(["runs", "rename", run, hostile, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["name"] == hostile
