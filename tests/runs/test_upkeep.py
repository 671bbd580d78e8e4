"""What runs take on the disk, what of it can go, what kills left, and how two configs differ."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import command

sys.path.append(str(Path(__file__).parents[1] / "datasets"))
from sources import refusal

from rebalance_core import cli
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, list_runs, remove_run, view_run
from rebalance_core.runs.leftovers import remove_all_leftovers, remove_leftovers
from rebalance_core.runs.upkeep import (
    clean,
    config_differences,
    read_log,
    run_bytes,
    spare_checkpoints,
)
from rebalance_core.system.files import read_json, temp_path, write_bytes, write_json
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
LEAVE = """
import sys
from pathlib import Path
from rebalance_core import cli
from rebalance_core.system.files import temp_path
for name in sys.argv[1:]:
    path = temp_path(Path(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name.endswith("folder") else path.write_text("half")
"""


def ended(workspace: Workspace, status: str, checkpoints: int, **config: Any) -> RunView:
    """A run with so many checkpoints written, the second the best."""
    run = RunDirectory(create_run(workspace, "train", config, name=status))
    for step in range(1, checkpoints + 1):
        state = {"step": step, "weights": torch.zeros(1000)}
        run.checkpoint(state, ("loss", abs(step - 2.0)))
    run.end(status)  # type: ignore[arg-type]
    return view_run(run.path)


def names(view: RunView) -> list[str]:
    return sorted(p.name for p in (view.path / "checkpoints").iterdir())


def test_a_size_counts_a_file_with_two_names_once(workspace: Workspace) -> None:
    view = ended(workspace, "failed", 0)
    empty = run_bytes(view)
    write_bytes(view.path / "result" / "a.bin", bytes(5000))
    os.link(view.path / "result" / "a.bin", view.path / "result" / "b.bin")
    write_json(view.path / "state.json", view.state.model_dump())
    assert run_bytes(view_run(view.path)) == empty + 5000


def test_cleaning_leaves_what_a_resume_needs(workspace: Workspace) -> None:
    done, failed, fresh = (
        ended(workspace, status, count)
        for status, count in (("done", 3), ("failed", 4), ("cancelled", 0))
    )
    assert names(done) == ["000002.pt", "000003.pt", "best.pt"]
    assert names(failed) == ["000003.pt", "000004.pt", "best.pt"]
    spare = {each.view.id: each for each in spare_checkpoints(workspace)}
    assert spare.keys() == {done.id, failed.id}
    size = (failed.path / "checkpoints" / "000004.pt").stat().st_size
    assert abs(spare[done.id].bytes - 2 * size) < 200  # the best is the second
    before = sum(map(run_bytes, list_runs(workspace)))
    freed = clean(workspace)
    assert (names(done), names(failed)) == ([], ["000004.pt"])
    assert before - sum(map(run_bytes, list_runs(workspace))) == freed
    assert RunDirectory(failed.path).restore() is not None
    assert (spare_checkpoints(workspace), clean(workspace)) == ([], 0)
    assert view_run(fresh.path).status == "cancelled"


def test_a_run_that_goes_on_keeps_its_checkpoints(workspace: Workspace) -> None:
    view = ended(workspace, "done", 3)
    RunDirectory(view.path).write_state("queued", pid=None)
    assert (spare_checkpoints(workspace), clean(workspace)) == ([], 0)
    assert len(names(view)) == 3


def test_what_kills_left_behind_is_swept_wherever_it_is(workspace: Workspace) -> None:
    view = ended(workspace, "failed", 1)
    home = workspace.root
    (home / "datasets" / "pets" / "arrays").mkdir(parents=True)
    places = [
        view.path / "state.json",
        view.path / "checkpoints" / "000002.pt",
        view.path / "previews" / "x.png",
        view.path / "result" / "cells" / "x.json",
        home / "datasets" / "folder",
        home / "datasets" / "pets" / "folder",
        home / "datasets" / "pets" / "arrays" / "folder",
        home / "datasets" / "pets" / "pose-versions" / "folder",
        home / "sets" / "x.json",
        home / "exports" / "folder",
        home / "exports" / "synthetic" / "x.zip",
        home / "weights" / "x",
        home / "synthetic" / f".{view.id}" / "cat" / "000001.png",
        home / "runs" / "folder",
    ]
    subprocess.run([sys.executable, "-c", LEAVE, *map(str, places)], cwd=ROOT, check=True)
    mine = temp_path(home / "sets" / "mine.json")
    mine.write_text("still being written")
    found = [p for p in home.rglob(".*.*-*-*-*") if p.name != f".{view.id}"]
    assert len(found) == len(places) + 1
    remove_leftovers(workspace, view.path)
    assert [p for p in home.rglob(".*.*-*-*-*") if p.name != f".{view.id}"] == [mine]


def test_uploads_and_samples_of_nobody_are_swept(workspace: Workspace) -> None:
    now = time.time()
    for name, age in (("waited-for", 9000), ("fresh", 60), ("orphan", 9000)):
        write_bytes(workspace.uploads / name / "a.zip", b"zip")
        os.utime(workspace.uploads / name, (now - age, now - age))
    source = str(workspace.uploads / "waited-for" / "a.zip")
    waiting = create_run(workspace, "import", {"name": "x", "source": source}, name="import x")
    sample = create_run(workspace, "sample", {"name": "y", "run": "z"}, name="sample y")
    kept = workspace.partial_samples(sample.name)
    gone = workspace.partial_samples("20200101-000000-000-sample-abcd")
    for folder in (kept, gone):
        write_bytes(folder / "cat" / "000000.png", b"png")
    remove_all_leftovers(workspace)
    assert sorted(p.name for p in workspace.uploads.iterdir()) == ["fresh", "waited-for"]
    assert (kept.exists(), gone.exists()) == (True, False)
    # They go with their run.
    for path in (waiting, sample):
        write_json(path / "state.json", {**read_json(path / "state.json"), "status": "failed"})
        remove_run(workspace, path.name)
    assert sorted(p.name for p in workspace.uploads.iterdir()) == ["fresh"]
    assert not kept.exists()


def test_two_configs_differ_in_these_fields(workspace: Workspace) -> None:
    one = ended(workspace, "done", 0, set="a", training={"lr": 0.1, "steps": 5})
    other = ended(workspace, "done", 0, set="a", training={"lr": 0.2, "steps": 5}, more=True)
    assert config_differences(one, other) == {"training.lr": (0.1, 0.2), "more": (None, True)}
    assert config_differences(one, one) == {}


def test_a_log_is_read_from_its_end_and_on_from_there(workspace: Workspace) -> None:
    path = create_run(workspace, "train", {}, name="train")
    assert read_log(path) == ("", 0)
    (path / "log.txt").write_bytes(b"x" * 300_000 + b"\nlast \xff\n")
    text, at = read_log(path)
    assert (len(text), text[-7:], at) == (2**18, "last \ufffd\n"[-7:], 300_008)
    with (path / "log.txt").open("a") as file:
        file.write("more\n")
    assert read_log(path, at) == ("more\n", 300_013)


def test_the_same_by_the_command_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ended(workspace, "done", 3, set="a", training={"lr": 0.1})
    other = ended(workspace, "failed", 0, set="b", training={"lr": 0.1})

    def told(*arguments: str, typed: str = "") -> dict[str, Any]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        cli.app(["runs", *arguments, "--json"], standalone_mode=False)
        value: dict[str, Any] = json.loads(capsys.readouterr().out)
        return value

    assert told("diff", one.id, other.id) == {
        "runs": [one.id, other.id],
        "differs": {"set": ["a", "b"]},
    }
    assert told("rename", one.id, "the first")["name"] == "the first"
    assert told("note", one.id, "keep it")["note"] == "keep it"
    (listed,) = (run for run in told("list")["runs"] if run["run"] == one.id)
    assert (listed["name"], listed["note"], listed["parents"]) == ("the first", "keep it", [])
    assert listed["bytes"] == run_bytes(view_run(one.path))
    assert told("clean", typed="y\n")["freed_bytes"] > 0
    assert names(one) == []
    refused = refusal(command(workspace.root, "runs", "rename", one.id, "", "--json"))
    assert refused == "'' cannot be a run's name: use 1 to 200 characters on one line."


def test_a_followed_log_ends_with_its_run(workspace: Workspace) -> None:
    view = ended(workspace, "failed", 0)
    (view.path / "log.txt").write_text("one\ntwo\n")
    done = command(workspace.root, "runs", "log", view.id, "--follow", "--lines", "1")
    assert (done.returncode, done.stdout) == (0, "two\n")
