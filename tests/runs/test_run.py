"""The door through which a trainer says what happens: in memory and as a directory, alike."""

import io
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rebalance_core.files import read_json
from rebalance_core.runs.run import (
    Cancelled,
    MemoryRun,
    Run,
    RunDirectory,
    create_run,
    read_metrics,
)
from rebalance_core.workspace import Workspace

Open = Callable[[], Run]


def make_run(workspace: Workspace, name: str = "a run") -> RunDirectory:
    return RunDirectory(create_run(workspace, "train", {"steps": 3}, name=name, seed=7))


@pytest.fixture(params=["memory", "directory"])
def reopen(request: pytest.FixtureRequest, workspace: Workspace) -> Open:
    """Gives the run: a directory is opened anew each time, as after a kill."""
    if request.param == "memory":
        in_memory = MemoryRun()
        return lambda: in_memory
    path = make_run(workspace).path
    return lambda: RunDirectory(path)


def logged(run: Run) -> list[dict[str, Any]]:
    """What was logged, times aside."""
    assert isinstance(run, MemoryRun | RunDirectory)
    lines = run.metrics if isinstance(run, MemoryRun) else read_metrics(run.path)
    return [{k: v for k, v in line.items() if k != "time"} for line in lines]


def test_logged_lines_are_kept_in_their_order(reopen: Open) -> None:
    run = reopen()
    run.log(1, loss=0.5, stage="warm-up")
    run.log(2, loss=0.25, extra=None)
    assert logged(reopen()) == [
        {"step": 1, "loss": 0.5, "stage": "warm-up"},
        {"step": 2, "loss": 0.25, "extra": None},
    ]


def test_a_restored_run_takes_back_what_was_logged_after_the_checkpoint(reopen: Open) -> None:
    run = reopen()
    run.log(1, loss=0.5)
    run.checkpoint({"step": 1, "weights": torch.arange(3.0), "names": ["a"]})
    run.log(2, loss=0.25)
    again = reopen()
    kept = again.restore()
    assert kept is not None
    assert kept.pop("weights").tolist() == [0.0, 1.0, 2.0]
    assert kept == {"step": 1, "names": ["a"]}
    assert logged(again) == [{"step": 1, "loss": 0.5}]
    again.log(2, loss=0.125)
    assert logged(again)[1:] == [{"step": 2, "loss": 0.125}]


def test_the_last_checkpoint_counts(reopen: Open) -> None:
    for step in (1, 2):
        reopen().log(step)
        reopen().checkpoint({"step": step})
    reopen().log(3)
    assert reopen().restore() == {"step": 2}
    assert [line["step"] for line in logged(reopen())] == [1, 2]


def test_a_run_without_a_checkpoint_starts_over(reopen: Open) -> None:
    reopen().log(1, loss=0.5)
    assert reopen().restore() is None
    assert logged(reopen()) == []


def test_a_checkpoint_is_read_without_unpickling(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.checkpoint({"step": 1})
    path = run.path / "checkpoints" / "last.pt"
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
    torch.save({"state": {"path": Path("x")}, "metrics_size": 0}, path)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        run.restore()


def test_nothing_is_asked_to_stop_by_itself(reopen: Open) -> None:
    run = reopen()
    run.stop_here({"step": 1})
    assert not run.should_stop()
    assert run.restore() is None  # no checkpoint was due


def test_a_run_in_memory_stops_at_the_question_it_is_told() -> None:
    run = MemoryRun(stop_after=2)
    assert [run.should_stop() for _ in range(4)] == [False, False, True, True]


def test_a_run_that_is_asked_to_stop_keeps_a_checkpoint_first(workspace: Workspace) -> None:
    run = make_run(workspace)
    (run.path / "cancel").touch()
    for stopping in (run, MemoryRun(stop_after=0)):
        with pytest.raises(Cancelled):
            stopping.stop_here({"step": 5})
        assert stopping.restore() == {"step": 5}


def test_a_stopped_parent_stops_its_child_and_not_the_other_way(workspace: Workspace) -> None:
    parent = make_run(workspace, "study")
    child = RunDirectory(make_run(workspace, "step").path, parent=parent)
    (child.path / "cancel").touch()
    assert (child.should_stop(), parent.should_stop()) == (True, False)
    (child.path / "cancel").unlink()
    assert not child.should_stop()
    (parent.path / "cancel").touch()
    assert (child.should_stop(), parent.should_stop()) == (True, True)


def test_progress_is_in_the_state_and_told_to_the_listener(workspace: Workspace) -> None:
    heard: list[tuple[float, str]] = []
    path = make_run(workspace).path
    run = RunDirectory(path, listener=lambda fraction, stage: heard.append((fraction, stage)))
    run.progress(0.0, "decoding")
    run.write_state("running")
    state = read_json(path / "state.json")
    assert state["status"] == "running"
    assert state["progress"] == {"fraction": 0.0, "stage": "decoding", "seconds_left": None}
    run.progress(0.5, "training")
    run.progress(1.5, "training")
    run.write_state()
    progress = read_json(path / "state.json")["progress"]
    assert (progress["fraction"], progress["stage"]) == (1.0, "training")
    assert heard == [(0.0, "decoding"), (0.5, "training"), (1.5, "training")]


def test_the_time_left_is_known_once_something_is_done(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.progress(0.25, "going on")  # after a resume: nothing was gained yet
    run.write_state()
    assert read_json(run.path / "state.json")["progress"]["seconds_left"] is None
    run.progress(0.5, "going on")
    run.write_state()
    assert read_json(run.path / "state.json")["progress"]["seconds_left"] >= 0


def test_a_state_keeps_what_it_is_told_and_its_status(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.write_state("failed", reason="Out of memory.")
    run.write_state(finished=5.0)
    state = read_json(run.path / "state.json")
    told = (state["status"], state["reason"], state["finished"])
    assert told == ("failed", "Out of memory.", 5.0)


def test_a_beating_run_writes_its_state_by_itself(workspace: Workspace) -> None:
    run = make_run(workspace)
    with run.beating():
        run.progress(0.5, "training")
        deadline = time.monotonic() + 30
        while read_json(run.path / "state.json")["progress"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert read_json(run.path / "state.json")["progress"]["fraction"] == 0.5


def test_a_torn_last_line_is_left_for_the_next_look(workspace: Workspace) -> None:
    run = make_run(workspace)
    assert read_metrics(run.path) == []
    run.log(1, loss=0.5)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert logged(run) == [{"step": 1, "loss": 0.5}]
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('ss": 0.25}\n')
    assert logged(run) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_torn_line_after_the_checkpoint_is_taken_back(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.log(1)
    run.checkpoint({"step": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    run = RunDirectory(run.path)
    run.restore()
    run.log(2)
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").open()] == [1, 2]


def test_a_preview_is_a_picture_of_its_step(workspace: Workspace) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    run = make_run(workspace)
    run.preview(3, pixels)
    run.preview(20, pixels[..., 0], name="class a")
    found = sorted((run.path / "previews").iterdir())
    assert [p.name for p in found] == ["class a-0000020.png", "samples-0000003.png"]
    with Image.open(io.BytesIO(found[1].read_bytes())) as image:
        assert np.array_equal(np.asarray(image), pixels)
    memory = MemoryRun()
    memory.preview(3, pixels)
    assert memory.previews == [(3, "samples", pixels)]


def test_a_new_run_is_queued_and_says_what_it_is(workspace: Workspace) -> None:
    path = create_run(
        workspace, "train", {"steps": 3}, name="ddpm on pets", seed=7, parents=["pets"]
    )
    record, state = read_json(path / "run.json"), read_json(path / "state.json")
    assert {k: v for k, v in record.items() if k not in ("code", "created")} == {
        "kind": "train", "name": "ddpm on pets", "config": {"steps": 3},
        "parents": ["pets"], "seed": 7,
    }  # fmt: skip
    assert record["code"]
    assert (state["status"], state["pid"], state["progress"]) == ("queued", None, None)
    run = RunDirectory(path)
    assert (run.id, run.config) == (path.name, {"steps": 3})
    assert run.result.is_dir()


def test_ids_sort_by_time(workspace: Workspace) -> None:
    paths = []
    for kind in ("train", "import", "compare"):
        paths.append(create_run(workspace, kind, {}, name=kind))
        time.sleep(0.002)  # ids hold milliseconds
    assert sorted(paths) == paths
    assert sorted(p.name for p in workspace.runs.iterdir()) == [p.name for p in paths]
