"""The door through which a trainer says what happens: in memory and as a directory, alike."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rebalance_core.errors import UserError
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import CHECKPOINT_VARIABLE, Cancelled, MemoryRun, Run
from rebalance_core.system.files import read_json, remove_folder
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
    path = run.path / "checkpoints" / "000001.pt"
    assert [p.name for p in path.parent.iterdir()] == ["000001.pt"]
    torch.save({"state": {"path": Path("x")}, "metrics_size": 0}, path)
    with pytest.raises(UserError) as told:
        run.restore()
    assert str(told.value) == (
        f"No checkpoint in {path.parent} can be read; remove that folder to start from scratch."
    )


def test_nothing_is_asked_to_stop_by_itself(reopen: Open) -> None:
    run = reopen()
    run.checkpoint_or_stop({"step": 1})
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
            stopping.checkpoint_or_stop({"step": 5})
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
    with run.heartbeat():
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
        "kind": "train",
        "name": "ddpm on pets",
        "config": {"steps": 3},
        "parents": ["pets"],
        "seed": 7,
    }
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


def checkpoints(run: RunDirectory) -> list[str]:
    return sorted(p.name for p in (run.path / "checkpoints").iterdir())


def test_the_last_two_checkpoints_and_the_best_are_kept(workspace: Workspace) -> None:
    run = make_run(workspace)
    for step, loss in enumerate((0.5, 0.2, 0.4, 0.3), start=1):
        run.checkpoint({"step": step}, ("loss", loss))
    assert checkpoints(run) == ["000003.pt", "000004.pt", "best.pt"]
    best = torch.load(run.path / "checkpoints" / "best.pt", weights_only=True)
    assert (best["state"], best["best"]) == ({"step": 2}, ("loss", 0.2))
    assert run.restore() == {"step": 4}


def test_the_best_is_known_again_after_a_resume_and_is_of_one_kind(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.checkpoint({"step": 1}, ("loss of a", 0.2))
    again = RunDirectory(run.path)
    again.restore()
    again.checkpoint({"step": 2}, ("loss of a", 0.3))
    best = run.path / "checkpoints" / "best.pt"
    assert torch.load(best, weights_only=True)["state"] == {"step": 1}
    again.checkpoint({"step": 3}, ("loss of b", 0.9))  # another class: not to be compared
    assert torch.load(best, weights_only=True)["state"] == {"step": 3}


def test_the_best_is_kept_though_no_checkpoint_is_due(reopen: Open) -> None:
    run = reopen()
    run.checkpoint_or_stop({"step": 1}, ("loss", 0.5))
    run.checkpoint_or_stop({"step": 2}, ("loss", 0.6))
    assert reopen().restore() == {"step": 1}


@pytest.mark.parametrize("cut", [0, 1000])
def test_a_last_checkpoint_that_is_not_whole_leaves_the_one_before(
    workspace: Workspace, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a power cut, a file may be there without its content."""
    run = make_run(workspace)
    for step in (1, 2):
        run.log(step)
        run.checkpoint({"step": step, "weights": torch.arange(1000.0)})
    path = run.path / "checkpoints" / "000002.pt"
    path.write_bytes(path.read_bytes()[:cut])
    kept = RunDirectory(run.path).restore()
    assert kept is not None
    assert kept["step"] == 1
    assert [line["step"] for line in logged(run)] == [1]
    assert f"{path} cannot be read" in capsys.readouterr().out
    run.checkpoint({"step": 2})
    assert run.restore() == {"step": 2}


def test_metrics_that_a_power_cut_took_are_not_made_up(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.log(1)
    run.checkpoint({"step": 1})
    (run.path / "metrics.jsonl").write_bytes(b"")
    assert RunDirectory(run.path).restore() == {"step": 1}
    assert (run.path / "metrics.jsonl").read_bytes() == b""


@pytest.mark.parametrize(("told", "due"), [("0", True), ("86000", False), (None, False)])
def test_how_often_a_checkpoint_is_due_can_be_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, told: str | None, due: bool
) -> None:
    if told is not None:
        monkeypatch.setenv(CHECKPOINT_VARIABLE, told)
    assert make_run(workspace).is_checkpoint_due() == due


@pytest.mark.parametrize("told", ["soon", "-1", "nan", "1e9"])
def test_a_senseless_time_between_checkpoints_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    path = make_run(workspace).path
    monkeypatch.setenv(CHECKPOINT_VARIABLE, told)
    with pytest.raises(UserError) as refused:
        RunDirectory(path)
    assert str(refused.value) == (
        f"{CHECKPOINT_VARIABLE} must be a number of seconds from 0 to 86,399 (got {told!r})."
    )


def test_a_removed_run_is_not_brought_back(workspace: Workspace) -> None:
    run = make_run(workspace)
    with run.heartbeat():
        remove_folder(run.path)
        for say in (
            lambda: run.write_state("done"),
            lambda: run.log(1),
            lambda: run.checkpoint({"step": 1}),
            lambda: run.preview(1, np.zeros((2, 2), np.uint8)),
            lambda: run.end("done"),
            run.reserve_disk,
        ):
            with pytest.raises(FileNotFoundError):
                say()
        time.sleep(1.2)  # a heartbeat
    assert list(workspace.runs.iterdir()) == []


def test_metrics_are_read_on_from_the_last_look_and_anew_once_they_were_cut(
    workspace: Workspace,
) -> None:
    run = make_run(workspace)
    for step in (1, 2, 3):
        run.log(step, loss=1.0)
    assert [line["step"] for line in read_metrics(run.path)] == [1, 2, 3]
    lines = (run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    # Cut to the first line, and longer than before at the next look.
    other = [line.replace(b"1.0", b"2.0") for line in lines]
    (run.path / "metrics.jsonl").write_bytes(b"".join([lines[0], *other[1:], *other]))
    assert [line["loss"] for line in read_metrics(run.path)] == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    (run.path / "metrics.jsonl").write_bytes(lines[0])
    assert [line["step"] for line in read_metrics(run.path)] == [1]
    read_metrics(run.path).clear()  # a reader's list is its own
    assert len(read_metrics(run.path)) == 1
    (run.path / "metrics.jsonl").unlink()
    assert read_metrics(run.path) == []


def test_a_torn_line_in_the_middle_is_left_out(workspace: Workspace) -> None:
    run = make_run(workspace)
    run.log(1)
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 2, "lo\xff\n')
    run.log(3)
    assert [line["step"] for line in read_metrics(run.path)] == [1, 3]
