"""Jobs in processes of their own: queued, killed, cancelled, resumed. Nothing is imitated."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from starting import submit

from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.runs import executor
from rebalance_core.runs.directory import RunDirectory, create_run, find_run
from rebalance_core.runs.executor import (
    RunView,
    _spawn_locked,
    cancel,
    describe,
    list_runs,
    open_run,
    remove_run,
    resume,
    view_run,
)
from rebalance_core.runs.locks import run_lock, states_lock
from rebalance_core.runs.records import read_state
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0  # seconds, on a busy machine
NO_SET = "There is no training set or dataset 'nothing' (there is: none yet)."


def wait(path: Path, until: Callable[[RunView], bool]) -> RunView:
    deadline = time.monotonic() + PATIENCE
    while not until(view := view_run(path)):
        assert time.monotonic() < deadline, (view.state, (path / "log.txt").read_text())
        time.sleep(0.05)
    return view


def ended(view: RunView) -> bool:
    return not view.live


def waiting(view: RunView) -> bool:
    return view.progress.stage.startswith("waiting for ")


def set_state(path: Path, **state: Any) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), **state})


def queue(workspace: Workspace, name: str = "compare") -> Path:
    """A run that needs the device and then fails fast, not yet handed to a process."""
    return create_run(workspace, "compare", {"set": "nothing"}, name=name)


def start_worker(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "rebalance_core.runs.worker", str(path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture
def device(workspace: Workspace) -> Iterator[FileLock]:
    """The device, held by this test until it releases it."""
    workspace.runs.mkdir(parents=True)
    lock = FileLock(workspace.runs / ".device-cpu.lock")
    with lock:
        yield lock


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that doesn't know of runs, in a group of its own."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_submitted_job_runs_in_its_own_process_to_its_result(workspace: Workspace) -> None:
    config = ImportConfig(name="digits", source="digits").model_dump()
    view = submit(workspace, "import", config, name="import digits", seed=3, parents=["me"])
    assert view.live
    done = wait(view.path, ended)
    assert (done.status, done.state.reason) == ("done", None)
    assert done.state.pid != os.getpid()
    assert done.state.started <= done.state.finished
    assert (done.kind, done.name, done.config) == ("import", "import digits", config)
    assert (done.record.seed, done.record.parents) == (3, ["me"])
    assert done.result == {"dataset": "digits"}
    assert len(open_dataset(workspace, "digits").catalogue) == 7 * 120 + 3 * 20 + 450
    assert (done.path / "log.txt").read_text() == ""


def test_a_job_that_cannot_be_done_fails_with_one_sentence(workspace: Workspace) -> None:
    view = submit(workspace, "compare", {"set": "nothing"}, name="compare")
    failed = wait(view.path, ended)
    assert (failed.status, failed.state.reason) == ("failed", NO_SET)
    assert failed.result == {}
    log = failed.path / "log.txt"  # written after the state
    wait(view.path, lambda view: log.read_text() == f"{NO_SET}\n")


def test_a_killed_job_is_interrupted_and_resumes_to_the_whole_result(workspace: Workspace) -> None:
    config = ImportConfig(name="phantom", source="phantom", count=1500, size=64).model_dump()
    view = submit(workspace, "import", config, name="import phantom")
    running = wait(view.path, lambda view: view.status != "queued")
    assert running.status == "running"
    os.kill(running.state.pid, signal.SIGKILL)
    killed = wait(view.path, ended)
    assert (killed.status, killed.state.reason) == (
        "interrupted",
        "The process exited unexpectedly.",
    )
    assert read_json(view.path / "state.json")["status"] == "interrupted"
    assert list_datasets(workspace) == []
    assert resume(workspace, view.id).live
    done = wait(view.path, ended)
    assert (done.status, done.result) == ("done", {"dataset": "phantom"})
    assert len(open_dataset(workspace, "phantom").catalogue) == 1500


@pytest.mark.parametrize(("off_by", "status"), [(0.0, "running"), (100.0, "interrupted")])
def test_a_pid_counts_only_with_its_start_time(
    workspace: Workspace, off_by: float, status: str
) -> None:
    path = queue(workspace)
    me = current_process()
    set_state(path, status="running", pid=me["pid"], pid_started=me["pid_started"] - off_by)
    assert view_run(path).status == status


@pytest.mark.parametrize(("age", "status"), [(0.0, "queued"), (60.0, "interrupted")])
def test_a_run_whose_process_never_came_is_interrupted_after_a_while(
    workspace: Workspace, age: float, status: str
) -> None:
    path = queue(workspace)
    set_state(path, heartbeat=time.time() - age)
    assert view_run(path).status == status


def test_a_run_can_be_cancelled_before_its_process_has_come(workspace: Workspace) -> None:
    path = queue(workspace)
    view = cancel(workspace, path.name)
    assert (view.status, view.stopping) == ("queued", True)
    assert [v.id for v in list_runs(workspace)] == [path.name]
    set_state(path, heartbeat=time.time() - 60)
    view = view_run(path)
    assert (view.status, view.state.reason) == ("cancelled", "Stopped on request.")


def test_a_queued_run_waits_without_torch_and_ends_when_cancelled(
    workspace: Workspace, device: FileLock
) -> None:
    view = submit(workspace, "train", {"generator": "ddpm"}, name="train")
    view = wait(view.path, waiting)
    assert (view.status, view.progress.stage) == ("queued", "waiting for 1 job(s) ahead")
    process = psutil.Process(view.state.pid)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    loaded = [m.path for m in process.memory_maps()]
    assert any("libpython" in m or "python3" in m for m in loaded)
    assert not [m for m in loaded if "torch" in m]
    assert cancel(workspace, view.id).stopping
    view = wait(view.path, ended)
    assert (view.status, view.state.reason) == ("cancelled", "Stopped on request.")
    assert "started" not in view.state
    assert device.is_locked


def test_the_oldest_queued_run_takes_the_device_first(
    workspace: Workspace, device: FileLock
) -> None:
    older, younger = queue(workspace, "older"), queue(workspace, "younger")
    assert older.name < younger.name
    workers = [start_worker(younger)]  # it comes first, and still has to wait
    view = wait(younger, waiting)
    assert view.progress.stage == "waiting for 2 job(s) ahead"
    workers.append(start_worker(older))
    view = wait(older, waiting)
    assert view.progress.stage == "waiting for 1 job(s) ahead"
    device.release()
    first, second = wait(older, ended), wait(younger, ended)
    assert (first.state.reason, second.state.reason) == (NO_SET, NO_SET)
    assert first.state.finished <= second.state.started
    assert [worker.wait(PATIENCE) for worker in workers] == [1, 1]


def test_a_worker_that_comes_late_is_queued_after_all(
    workspace: Workspace, device: FileLock
) -> None:
    """On a busy machine a process may take longer to start than anybody waits for it."""
    path = queue(workspace)
    set_state(path, heartbeat=time.time() - 60)
    assert view_run(path).status == "interrupted"
    worker = start_worker(path)
    try:
        assert wait(path, waiting).status == "queued"
    finally:
        device.release()
        assert worker.wait(PATIENCE) == 1


def test_a_killed_holder_frees_the_device(workspace: Workspace) -> None:
    workspace.runs.mkdir(parents=True)
    script = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(workspace.runs / ".device-cpu.lock")],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    view = submit(workspace, "compare", {"set": "nothing"}, name="compare")
    wait(view.path, waiting)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert wait(view.path, ended).state.reason == NO_SET


def test_a_run_whose_turn_came_says_no_more_that_it_waits(
    workspace: Workspace, device: FileLock
) -> None:
    """Nor may the time that it waited count in the time left."""
    path = queue(workspace)
    worker = start_worker(path)
    wait(path, waiting)
    device.release()
    assert not waiting(wait(path, ended))
    assert worker.wait(PATIENCE) == 1


@pytest.mark.parametrize(
    ("late", "gone_by"), [(31, signal.SIGTERM), (60, signal.SIGKILL)], ids=["asked", "made to"]
)
def test_a_run_that_does_not_stop_is_ended(
    workspace: Workspace, sleeper: subprocess.Popen[bytes], late: int, gone_by: signal.Signals
) -> None:
    path = queue(workspace)
    started = psutil.Process(sleeper.pid).create_time()
    set_state(path, status="running", pid=sleeper.pid, pid_started=started)
    cancel(workspace, path.name)
    assert view_run(path).status == "running"
    asked = time.time() - late
    os.utime(path / "cancel", (asked, asked))
    view_run(path)
    assert sleeper.wait(PATIENCE) == -gone_by
    view = view_run(path)
    assert (view.status, view.state.reason) == ("cancelled", "Stopped on request.")


@pytest.mark.parametrize("status", ["queued", "running", "done"])
def test_what_goes_on_or_is_done_is_not_resumed(workspace: Workspace, status: str) -> None:
    path = queue(workspace)
    set_state(path, status=status, **current_process())
    with pytest.raises(UserError) as told:
        resume(workspace, path.name)
    assert str(told.value) == f"Run {path.name} is {status}; there is nothing to resume."


@pytest.mark.parametrize("status", ["done", "failed", "cancelled", "interrupted"])
def test_what_has_ended_is_not_cancelled(workspace: Workspace, status: str) -> None:
    path = queue(workspace)
    set_state(path, status=status)
    with pytest.raises(UserError) as told:
        cancel(workspace, path.name)
    assert str(told.value) == f"Run {path.name} is {status}; there is nothing to cancel."
    assert not (path / "cancel").exists()


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_live_run_is_not_removed(workspace: Workspace, status: str) -> None:
    path = queue(workspace)
    set_state(path, status=status, **current_process())
    with pytest.raises(UserError) as told:
        remove_run(workspace, path.name)
    assert str(told.value) == f"Run {path.name} is {status}; cancel it first."
    assert path.exists()


def test_a_removed_run_is_gone_whole(workspace: Workspace) -> None:
    gone, kept = queue(workspace), queue(workspace)
    set_state(gone, status="failed")
    remove_run(workspace, gone.name)
    assert list(workspace.runs.iterdir()) == [kept]


def test_runs_are_listed_while_others_are_removed(workspace: Workspace) -> None:
    """A job in the queue lists the runs twice a second; nobody's cleaning up may end it."""
    kept = queue(workspace)
    set_state(kept, status="failed")

    def churn() -> None:
        for number in range(400):
            shutil.copytree(kept, workspace.runs / f".{number}")
            os.rename(workspace.runs / f".{number}", workspace.runs / f"gone-{number}")
            remove_run(workspace, f"gone-{number}")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(churn)
        while not done.done():
            assert kept.name in [view.id for view in list_runs(workspace)]
        done.result()


def test_a_run_is_found_by_its_id_or_a_part_that_only_it_has(workspace: Workspace) -> None:
    first, second = queue(workspace), queue(workspace)
    assert find_run(workspace, first.name) == first
    assert find_run(workspace, second.name[-4:]) == second
    for part, count in (("compare", "2 runs"), ("train", "no run"), ("", "no run")):
        with pytest.raises(UserError) as told:
            find_run(workspace, part)
        assert str(told.value) == (
            f"{count} named {part!r} in {workspace.runs}; `runs list` shows them."
        )


def test_an_id_that_is_part_of_another_is_found_exactly(workspace: Workspace) -> None:
    path = queue(workspace)
    longer = path.with_name(path.name + "0")
    path.rename(longer)
    path = queue(workspace).rename(longer.with_name(longer.name[:-1]))
    assert find_run(workspace, path.name) == path


def test_runs_are_listed_newest_first_and_by_kind(workspace: Workspace) -> None:
    assert list_runs(workspace) == []
    kinds = ["import", "train", "import"]
    paths = []
    for kind in kinds:
        paths.append(create_run(workspace, kind, {}, name=kind))
        time.sleep(0.002)  # ids hold milliseconds
    assert [v.path for v in list_runs(workspace)] == paths[::-1]
    assert [v.path for v in list_runs(workspace, "import")] == [paths[2], paths[0]]


def test_two_devices_take_two_jobs_and_the_third_waits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with two GPUs, as CUDA_VISIBLE_DEVICES tells; each job sees one of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    workspace.runs.mkdir(parents=True)
    locks = [FileLock(workspace.runs / f".device-gpu-{n}.lock") for n in (0, 3)]
    for lock in locks:
        lock.acquire()
    paths = [queue(workspace, f"job {n}") for n in range(3)]
    workers = [start_worker(path) for path in paths]
    for number, path in enumerate(paths, start=1):
        stage = f"waiting for {number} job(s) ahead"
        wait(path, lambda view, stage=stage: view.progress.stage == stage)
    locks[1].release()  # the oldest takes it, whichever it is
    assert wait(paths[0], ended).state.device == "GPU 3"
    locks[0].release()
    assert {wait(path, ended).state.device for path in paths[1:]} <= {"GPU 0", "GPU 3"}
    assert [worker.wait(PATIENCE) for worker in workers] == [1, 1, 1]


def test_a_job_sees_only_the_device_that_it_took(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    view = submit(workspace, "train", {"generator": "ddpm", "set": "nothing"}, name="train")
    pid = wait(view.path, lambda view: view.state.pid is not None).state.pid
    assert psutil.Process(pid).environ()["CUDA_VISIBLE_DEVICES"] == "5,7"  # as it was started
    assert wait(view.path, ended).state.device == "GPU 5"


def test_a_worker_that_is_slow_to_start_is_not_taken_for_gone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cold disk or an overloaded machine it needs longer than the grace."""
    path = create_run(workspace, "train", {"generator": "ddpm", "set": "nothing"}, name="late")
    with states_lock(workspace.runs):  # the worker cannot claim the run meanwhile
        _spawn_locked(workspace, path, None)
        pid = read_state(path).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(executor, "START_GRACE", 0.0)
    assert view_run(path).status == "queued"
    os.kill(pid, signal.SIGCONT)
    assert wait(path, ended).status == "failed"  # it ran; its config is incomplete


def test_a_worker_that_dies_before_it_claims_its_run_is_told_at_once(workspace: Workspace) -> None:
    path = create_run(workspace, "train", {"generator": "ddpm", "set": "nothing"}, name="early")
    started = time.monotonic()
    with states_lock(workspace.runs):
        _spawn_locked(workspace, path, None)
        os.kill(read_state(path).pid or 0, signal.SIGKILL)
    assert wait(path, ended).status == "interrupted"
    assert time.monotonic() - started < executor.START_GRACE / 2


def test_a_run_is_worked_on_by_one_process(workspace: Workspace) -> None:
    path = queue(workspace)
    with run_lock(path):
        worker = start_worker(path)
        assert worker.wait(PATIENCE) == 1
    assert view_run(path).status == "queued"
    assert start_worker(path).wait(PATIENCE) == 1
    assert view_run(path).state.reason == NO_SET


def test_a_process_that_finds_the_run_done_already_leaves_it(workspace: Workspace) -> None:
    path = queue(workspace)
    set_state(path, status="done", finished=1.0)
    assert start_worker(path).wait(PATIENCE) == 0
    assert (view_run(path).status, view_run(path).state.finished) == ("done", 1.0)


def test_a_run_whose_lock_is_held_is_alive_whatever_the_clock_says(workspace: Workspace) -> None:
    """Setting the clock moves every process's start time."""
    path = queue(workspace)
    me = current_process()
    set_state(path, status="running", pid=me["pid"], pid_started=me["pid_started"] - 100)
    script = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path / ".work.lock")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert view_run(path).status == "running"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert view_run(path).status == "interrupted"


@pytest.mark.parametrize(("age", "status"), [(5.0, "running"), (90.0, "interrupted")])
def test_a_run_of_another_machine_lives_by_its_heartbeat(
    workspace: Workspace, age: float, status: str
) -> None:
    """In a workspace on a shared disk; its pid means nothing here."""
    path = queue(workspace)
    set_state(
        path,
        status="running",
        pid=1,
        pid_started=0.0,
        host="elsewhere",
        heartbeat=time.time() - age,
    )
    assert view_run(path).status == status


def test_of_two_that_resume_a_run_at_once_one_is_refused(workspace: Workspace) -> None:
    path = queue(workspace)
    set_state(path, status="interrupted")

    def attempt(_: int) -> str:
        try:
            return resume(workspace, path.name).status
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        told = sorted(pool.map(attempt, range(4)))
    refusals = [text for text in told if "there is nothing to resume" in text]
    assert len(refusals) == 3, told
    assert wait(path, ended).state.reason == NO_SET
    wait(path, lambda _: (path / "log.txt").read_text() == f"{NO_SET}\n")


def test_a_run_that_the_system_ends_keeps_a_checkpoint_and_is_interrupted(
    workspace: Workspace, device: FileLock
) -> None:
    """As a spot machine does before it goes, or whoever shuts down: SIGTERM."""
    view = submit(workspace, "train", {"generator": "ddpm"}, name="train")
    view = wait(view.path, waiting)
    os.kill(view.state.pid, signal.SIGTERM)
    view = wait(view.path, ended)
    told = (view.status, view.state.reason)
    assert told == ("interrupted", "Terminated by the system (SIGTERM).")
    run = RunDirectory(view.path)
    run.stop()
    assert (run.should_stop(), run.is_cancelled()) == (True, False)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("state.json", b"", "is not readable as JSON"),
        ("state.json", b"[]", "is damaged (it should be an object); remove the run."),
        ("state.json", b'{"status": "hacked"}', "is damaged (status: input should be 'queued', "),
        ("run.json", b'{"kind": "train"}', "is damaged (name: field required); remove the run."),
        ("run.json", b"\xff", "is not readable as JSON"),
        (
            "about.json",
            b'{"name": 3}',
            "is damaged (name: input should be a valid string); remove it.",
        ),
    ],
)
def test_a_damaged_run_is_shown_and_can_be_removed_and_hides_no_other(
    workspace: Workspace, name: str, content: bytes, sentence: str
) -> None:
    kept, broken = queue(workspace), queue(workspace)
    set_state(kept, status="failed")
    (broken / name).write_bytes(content)
    views = {view.id: view for view in list_runs(workspace)}
    assert views.keys() == {kept.name, broken.name}
    assert (views[broken.name].kind, views[broken.name].status) == ("damaged", "failed")
    assert sentence in views[broken.name].state.reason
    with pytest.raises(UserError, match="is damaged"):
        resume(workspace, broken.name)
    remove_run(workspace, broken.name)
    assert [view.id for view in list_runs(workspace)] == [kept.name]


def test_a_run_of_an_unknown_kind_holds_nobody_up(workspace: Workspace) -> None:
    strange = create_run(workspace, "evil", {}, name="evil")
    path = queue(workspace)
    assert start_worker(path).wait(PATIENCE) == 1
    assert view_run(path).state.reason == NO_SET
    assert open_run(workspace, strange.name).status == "queued"


def test_a_run_gets_another_name_and_a_note(workspace: Workspace) -> None:
    path = queue(workspace)
    set_state(path, status="failed")
    assert (view_run(path).name, view_run(path).note) == ("compare", "")
    describe(workspace, path.name, name=" first try ")
    describe(workspace, path.name, note="lr too high\nsee run 2\n")
    view = view_run(path)
    assert (view.name, view.note) == ("first try", "lr too high\nsee run 2")
    assert view.record.name == "compare"
    for bad in ("", " ", "x" * 201, "two\nlines", "\x00"):
        with pytest.raises(UserError, match="cannot be a run's name"):
            describe(workspace, path.name, name=bad)
    with pytest.raises(UserError, match="A note may have 4000 characters, not 4001"):
        describe(workspace, path.name, note="x" * 4001)
    assert describe(workspace, path.name, note="").note == ""


def test_what_an_ended_run_said_last_is_seen_when_it_goes_on(workspace: Workspace) -> None:
    """Ended runs are kept in memory, but never beyond a change."""
    path = queue(workspace)
    for status in ("failed", "interrupted", "cancelled", "done"):
        set_state(path, status=status)
        assert view_run(path).status == status
        set_state(path, status="running", **current_process())
        assert view_run(path).status == "running"


def test_a_silent_run_and_short_memory_are_told(workspace: Workspace) -> None:
    path = queue(workspace)
    set_state(path, status="running", **current_process())
    assert view_run(path).warning == ""
    memory = {"used": 2**30, "left": 2**28, "total": 2**33, "ended": 0}
    set_state(path, memory=memory)
    assert view_run(path).warning.startswith("Memory is low: 0.2 of 8.0 GiB are available.")
    set_state(path, heartbeat=time.time() - 300)
    assert view_run(path).warning.startswith("No heartbeat for 300 s;")
    set_state(path, status="done")
    assert view_run(path).warning == ""


def test_a_death_for_want_of_memory_says_so_and_suggests_a_batch_size(
    workspace: Workspace, sleeper: subprocess.Popen[bytes]
) -> None:
    path = create_run(workspace, "train", {"training": {"batch_size": 64}}, name="train")
    started = psutil.Process(sleeper.pid).create_time()
    memory = {"used": 11 * 2**30, "left": 2**20, "total": 12 * 2**30, "ended": 0}
    set_state(path, status="running", pid=sleeper.pid, pid_started=started, memory=memory)
    assert view_run(path).status == "running"
    sleeper.kill()
    sleeper.wait()
    view = view_run(path)
    assert (view.status, view.state.reason) == (
        "interrupted",
        "Out of memory: the process was killed while it used 11.0 of 12.0 GiB; a smaller "
        "batch_size than 64, such as 32, needs less.",
    )
