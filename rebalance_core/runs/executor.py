"""The local executor: one detached process per job, one lock per device as the queue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from rebalance_core.errors import UserError
from rebalance_core.runs.directory import (
    LIVE,
    PROCESS_GONE,
    RESERVE,
    STOPPED,
    find_run,
    is_run,
    queued_state,
)
from rebalance_core.runs.leftovers import remove_leftovers
from rebalance_core.runs.locks import is_run_locked, states_lock
from rebalance_core.runs.memory import count_oom_kills, is_low, out_of_memory_reason
from rebalance_core.runs.records import (
    About,
    Progress,
    RunRecord,
    RunState,
    Status,
    read_about,
    read_record,
    read_state,
)
from rebalance_core.runs.spec import job_specs
from rebalance_core.runs.trust import check_trusted
from rebalance_core.system.files import (
    disk_full_message,
    read_json,
    remove_folder,
    translate_disk_full,
    write_json,
)
from rebalance_core.system.processes import find_process, host_name, process_identity
from rebalance_core.workspace import HOME_VARIABLE, Workspace

CANCEL_GRACE = 30.0  # seconds a run has to checkpoint before it is terminated, then killed
# Threads that spin for long at every barrier stall as soon as a browser needs a core; with short
# spins a step loses little (benchmarks/busy_neighbour.py).
SPIN = {"GOMP_SPINCOUNT": "5000"}
# Every step allocates and frees the same large arrays; kept by the process, they need not be
# requested from Linux and zeroed each time (benchmarks/ddpm_train_speed.py).
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
WORKER_ENVIRONMENT = {**SPIN, **KEEP_MEMORY}
START_GRACE = 20.0  # seconds for which a queued run may have no process on record
SILENCE = 60.0  # seconds without a heartbeat after which a run on another machine counts as gone
RESUME_COMMAND = "resume the run on the command line (`runs resume {}`)"
AHEAD = 300.0  # seconds: the clocks of two machines differ by less
MAX_NAME, MAX_NOTE = 200, 4000  # characters


def needs_device(view: "RunView") -> bool:
    """Whether a run waits for a device before it starts."""
    spec = job_specs().get(view.kind)
    return spec is not None and spec.needs_device(view.config)


@dataclass(frozen=True)
class RunView:
    """A run as pages and commands see it: read from disk, never written."""

    path: Path
    record: RunRecord
    state: RunState
    about: About

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def name(self) -> str:
        return self.about.name or self.record.name

    @property
    def note(self) -> str:
        return self.about.note

    @property
    def parents(self) -> list[str]:
        return list(self.record.parents)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.record.config)

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def stopping(self) -> bool:
        return self.live and (self.path / "cancel").exists()

    @property
    def progress(self) -> Progress:
        return self.state.progress or Progress()

    @property
    def warning(self) -> str:
        """Why a live run needs attention, or ''."""
        silent = time.time() - self.state.heartbeat
        if self.live and silent > SILENCE:
            return f"No heartbeat for {silent:.0f} s; the run or its machine may be suspended."
        memory = self.state.memory
        if self.live and memory and is_low(memory):
            return (
                f"Memory is low: {memory.left / 2**30:.1f} of {memory.total / 2**30:.1f} GiB are "
                "available. The system may kill this run; it can then be resumed."
            )
        return ""

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the job returned; empty until it is done."""
        path = self.path / "result" / "result.json"
        result = read_json(path) if path.exists() else {}
        if not isinstance(result, dict):
            raise UserError(f"{path} is damaged (it is not an object); remove the run.")
        return result


_view_cache: dict[Path, tuple[tuple[int, ...], RunView]] = {}  # finished runs, until they change


def view_run(path: Path) -> RunView:
    """Read a run, and correct a state that says running where the process is gone.

    A finished run is read again only when its files change, since a page shows hundreds.
    """
    version = _files_version(path)
    cached = _view_cache.get(path)
    if cached is not None and cached[0] == version:
        return cached[1]
    view = _read(path)
    if view.live and not _is_alive(view.state):
        view = _reconcile(path)
    elif view.live:
        _enforce_cancel(path, view.state)
    if not view.live:
        _view_cache[path] = (version, view)
    return view


def _files_version(path: Path) -> tuple[int, ...]:
    """Return the modification time, inode and size of the run's records.

    They differ after any of the files was replaced.
    """
    version: list[int] = []
    for name in ("run.json", "state.json", "about.json"):
        try:
            # Creating a Path costs as much as this call, and a page makes hundreds of them.
            status = os.stat(f"{path}/{name}")  # noqa: PTH116
            version += [status.st_mtime_ns, status.st_ino, status.st_size]
        except OSError:
            version.append(0)
    return tuple(version)


def _read(path: Path) -> RunView:
    """The run as its files say; raises UserError where one is missing or damaged."""
    return RunView(path, read_record(path), read_state(path), read_about(path))


def _damaged_view(path: Path, error: UserError) -> RunView:
    """A failed run in place of one whose files cannot be read, so that it can be removed."""
    try:
        created = max(0.0, path.stat().st_mtime)
    except OSError:
        created = 0.0
    record = RunRecord(kind="damaged", name=path.name, config={}, created=created)
    return RunView(path, record, RunState(status="failed", reason=str(error)), About())


def view_or_damaged(path: Path) -> RunView:
    """A run, shown as failed if its files cannot be read; raises UserError if it is not a run."""
    try:
        return view_run(path)
    except UserError as error:
        if not is_run(path):
            raise
        return _damaged_view(path, error)


def _reconcile(path: Path) -> RunView:
    """Mark a run as interrupted if its process is gone and nobody has resumed it meanwhile."""
    workspace = Workspace(path.parent.parent)
    with states_lock(path.parent):
        view = _read(path)
        if not view.live or _is_alive(view.state) or is_run_locked(path):
            return view
        cancelled = (path / "cancel").exists()
        state = view.state.model_copy(
            update={
                "status": "cancelled" if cancelled else "interrupted",
                "reason": STOPPED if cancelled else _exit_reason(view),
            }
        )
        (path / ".reserve").unlink(missing_ok=True)
        try:
            write_json(path / "state.json", state.model_dump(), new_folders=False)
        except OSError:  # the disk is full or read-only: shown, though not recorded
            return RunView(path, view.record, state, view.about)
    remove_leftovers(workspace, path)
    return view_run(path)


def _exit_reason(view: RunView) -> str:
    """Why a process is gone that recorded no reason itself."""
    reason = out_of_memory_reason(view.state.memory, count_oom_kills(), view.config)
    if reason is None and shutil.disk_usage(view.path).free < RESERVE:
        reason = disk_full_message(view.path.parent.parent)
    return reason or PROCESS_GONE


def list_runs(workspace: Workspace, kind: str | None = None) -> list[RunView]:
    """All runs, newest first; damaged ones are shown as failed."""
    paths = sorted(workspace.runs.glob("[!.]*"), reverse=True)
    views = []
    for path in paths:
        with suppress(UserError):  # removed meanwhile, or not a run
            views.append(view_or_damaged(path))
    return [view for view in views if kind in (None, view.kind)]


def open_run(workspace: Workspace, run_id: str) -> RunView:
    """A run by its id or a part of it; a damaged one is shown as failed."""
    return view_or_damaged(find_run(workspace, run_id))


def resume(workspace: Workspace, run_id: str, network: str | None = None) -> RunView:
    """Continue a run that failed, was cancelled or interrupted, from its last checkpoint.

    A run whose network is the user's own code needs that named again (`network`).
    """
    view = open_run(workspace, run_id)
    if view.kind not in job_specs():
        raise UserError(f"Run {view.id} is damaged ({view.state.reason})")
    with translate_disk_full(workspace.root), states_lock(workspace.runs):
        view = _read(view.path)  # of two concurrent resumes, the second sees it queued
        if view.live or view.status == "done":
            raise UserError(f"Run {view.id} is {view.status}; there is nothing to resume.")
        check_trusted(view.config, network, f"Run {view.id}", RESUME_COMMAND.format(view.id))
        (view.path / "cancel").unlink(missing_ok=True)
        write_json(view.path / "state.json", queued_state().model_dump(), new_folders=False)
        _spawn_locked(workspace, view.path, network)
    return view_run(view.path)


def cancel(workspace: Workspace, run_id: str) -> RunView:
    """Request that a run stops; one that does not is terminated, then killed, by later views."""
    view = open_run(workspace, run_id)
    if not view.live:
        raise UserError(f"Run {view.id} is {view.status}; there is nothing to cancel.")
    with translate_disk_full(workspace.root):
        (view.path / "cancel").touch()
    return view_run(view.path)


def remove_run(workspace: Workspace, run_id: str) -> None:
    """Remove a run that is not live; what other runs made of it stays."""
    view = open_run(workspace, run_id)
    if view.live:
        raise UserError(f"Run {view.id} is {view.status}; cancel it first.")
    if view.kind in job_specs():
        job_specs()[view.kind].clean_up(workspace, view.id, view.config)
    _view_cache.pop(view.path, None)
    remove_folder(view.path)


def describe(
    workspace: Workspace, run_id: str, *, name: str | None = None, note: str | None = None
) -> RunView:
    """Change a run's displayed name or its note; `run.json` keeps the first name."""
    view = open_run(workspace, run_id)
    about = view.about
    if name is not None:
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise UserError(
                f"{name[:80]!r} cannot be a run's name: use 1 to {MAX_NAME} characters on one line."
            )
        about = about.model_copy(update={"name": name})
    if note is not None:
        if len(note) > MAX_NOTE:
            raise UserError(f"A note may have {MAX_NOTE} characters, not {len(note)}.")
        about = about.model_copy(update={"note": note.strip()})
    with translate_disk_full(workspace.root):
        write_json(view.path / "about.json", about.model_dump(), new_folders=False)
    return open_run(workspace, view.id)


def spawn(workspace: Workspace, path: Path, network: str | None = None) -> None:
    """Start the run's worker; the code it may import is an argument, which no file can forge.

    The process is recorded at once, so that a worker slow to start is not taken for gone.
    """
    with states_lock(workspace.runs):
        _spawn_locked(workspace, path, network)


def _spawn_locked(workspace: Workspace, path: Path, network: str | None) -> None:
    """Start the worker, which waits for the lock of states that is held here to claim the run."""
    environment = {
        **WORKER_ENVIRONMENT,
        **os.environ,
        HOME_VARIABLE: str(workspace.root),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "rebalance_core.runs.worker", str(path)]
    with (path / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            command if network is None else [*command, network],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Of a full disk, a removed run or a process that has exited the worker's own writes tell.
    with suppress(OSError, psutil.Error):
        state = read_state(path).model_copy(update=process_identity(process.pid))
        write_json(path / "state.json", state.model_dump(), new_folders=False)


def _is_alive(state: RunState) -> bool:
    """By its process, or by its heartbeat if that runs on another machine."""
    silent = time.time() - state.heartbeat
    if state.pid is None:
        return -AHEAD < silent < START_GRACE
    if not _runs_here(state):
        return -AHEAD < silent < SILENCE
    return find_process(state.pid, state.process_start) is not None


def _runs_here(state: RunState) -> bool:
    return state.host is None or state.host == host_name()


def _enforce_cancel(path: Path, state: RunState) -> None:
    """Terminate, then kill, a run with its children that ignores a request to stop."""
    request = path / "cancel"
    try:
        overdue = time.time() - request.stat().st_mtime - CANCEL_GRACE
    except FileNotFoundError:
        return
    if overdue < 0 or not _runs_here(state):
        return
    process = find_process(state.pid, state.process_start)
    if process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM if overdue < 10 else signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
