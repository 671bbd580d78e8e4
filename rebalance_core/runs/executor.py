"""The local executor: a detached process per job, a lock per device as the queue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.runs.directory import LIVE, RESERVE, find_run, is_run
from rebalance_core.runs.leftovers import remove_leftovers
from rebalance_core.runs.locks import is_run_locked, states_lock
from rebalance_core.runs.memory import count_oom_kills, is_short, out_of_memory_reason
from rebalance_core.runs.records import Status, read_record, read_state
from rebalance_core.runs.spec import job_specs
from rebalance_core.runs.trust import check_trusted
from rebalance_core.system.files import (
    disk_full_message,
    read_json,
    remove_folder,
    translate_disk_full,
    write_json,
)
from rebalance_core.system.processes import find_process, host_name
from rebalance_core.workspace import HOME_VARIABLE, Workspace

CANCEL_GRACE = 30.0  # seconds a run has to checkpoint before it is terminated, then killed
# Threads that spin for long at every barrier stand still as soon as a browser wants a core; with
# short spins a step loses little (benchmarks/busy_neighbour.py).
SPIN = {"GOMP_SPINCOUNT": "5000"}
# Every step takes and leaves the same large arrays; kept by the process, they need not be asked of
# Linux and filled with zeros again each time (benchmarks/ddpm_train_speed.py).
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
WORKER_ENVIRONMENT = {**SPIN, **KEEP_MEMORY}
START_GRACE = 20.0  # seconds a queued run may have no process yet
SILENCE = 60.0  # seconds without a heartbeat after which a run of another machine counts as gone
RESUME_COMMAND = "resume the run on the command line (`runs resume {}`)"
AHEAD = 300.0  # seconds: the clocks of two machines differ by less
MAX_NAME, MAX_NOTE = 200, 4000  # characters


def needs_device(view: "RunView") -> bool:
    spec = job_specs().get(view.kind)
    return spec is not None and spec.needs_device(view.config)


@dataclass(frozen=True)
class RunView:
    """A run as pages and commands see it: read from disk, never written."""

    path: Path
    record: dict[str, Any]
    state: dict[str, Any]
    about: dict[str, str]  # what people say of it: `name`, `note`

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def name(self) -> str:
        return self.about.get("name") or str(self.record["name"])

    @property
    def note(self) -> str:
        return self.about.get("note", "")

    @property
    def parents(self) -> list[str]:
        return list(self.record.get("parents", []))

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.record["config"])

    @property
    def status(self) -> Status:
        status: Status = self.state["status"]
        return status

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def stopping(self) -> bool:
        return self.live and (self.path / "cancel").exists()

    @property
    def progress(self) -> dict[str, Any]:
        return self.state.get("progress") or {"fraction": 0.0, "stage": "", "seconds_left": None}

    @property
    def warning(self) -> str:
        """What somebody should know of a run that goes on, else ''."""
        silent = time.time() - self.state["heartbeat"]
        if self.live and silent > SILENCE:
            return f"No sign of life for {silent:.0f} s; it may be stuck, or its machine asleep."
        memory = self.state.get("memory")
        if self.live and memory and is_short(memory):
            return (
                f"Memory is short: {memory['left'] / 2**30:.1f} of {memory['total'] / 2**30:.1f} "
                "GiB are left. The system may end this run; it can then be resumed."
            )
        return ""

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the job returned; empty until it is done."""
        path = self.path / "result" / "result.json"
        found = read_json(path) if path.exists() else {}
        if not isinstance(found, dict):
            raise UserError(f"{path} is damaged (it is not an object); remove the run.")
        return found


_seen: dict[Path, tuple[tuple[int, ...], RunView]] = {}  # ended runs, until they change


def view_run(path: Path) -> RunView:
    """Read a run, first setting right a state whose process is gone.

    One that has ended is read again only when it changes: a page shows hundreds.
    """
    stamp = _stamp(path)
    known = _seen.get(path)
    if known is not None and known[0] == stamp:
        return known[1]
    view = _read(path)
    if view.live and not _is_alive(view.state):
        view = _reconcile(path)
    elif view.live:
        _enforce_cancel(path, view.state)
    if not view.live:
        _seen[path] = (stamp, view)
    return view


def _stamp(path: Path) -> tuple[int, ...]:
    """Of the files that may change; a replaced file is another one, so never the same."""
    stamp: list[int] = []
    for name in ("run.json", "state.json", "about.json"):
        try:
            # Making a Path takes as long as this, and a page does it for hundreds of runs.
            found = os.stat(f"{path}/{name}")  # noqa: PTH116
            stamp += [found.st_mtime_ns, found.st_ino, found.st_size]
        except OSError:
            stamp.append(0)
    return tuple(stamp)


def _read(path: Path) -> RunView:
    """Raises UserError where something is missing or damaged."""
    record, state = read_record(path), read_state(path)
    about = read_json(path / "about.json") if (path / "about.json").exists() else {}
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise UserError(f"{path / 'about.json'} holds no name and note; remove it.")
    return RunView(path, record, state, about)


def _damaged(path: Path, error: UserError) -> RunView:
    """A run whose files cannot be read: shown, so that it can be looked at and removed."""
    try:
        created = max(0.0, path.stat().st_mtime)
    except OSError:
        created = 0.0
    record = {"kind": "damaged", "name": path.name, "config": {}, "created": created}
    return RunView(path, record, {"status": "failed", "reason": str(error), "heartbeat": 0.0}, {})


def view_or_damaged(path: Path) -> RunView:
    """A run, as failed where its files cannot be read; raises UserError where it is none."""
    try:
        return view_run(path)
    except UserError as error:
        if not is_run(path):
            raise
        return _damaged(path, error)


def _reconcile(path: Path) -> RunView:
    """Say of a run whose process is gone that it is, unless it has ended or begun again."""
    workspace = Workspace(path.parent.parent)
    with states_lock(path.parent):
        view = _read(path)
        if not view.live or _is_alive(view.state) or is_run_locked(path):
            return view
        asked = (path / "cancel").exists()
        state = {
            **view.state,
            "status": "cancelled" if asked else "interrupted",
            "reason": "Stopped on request." if asked else _cause_of_death(view),
        }
        (path / ".reserve").unlink(missing_ok=True)
        try:
            write_json(path / "state.json", state, new_folders=False)
        except OSError:  # on a full disk, or one that may not be written: seen, if not kept
            return RunView(path, view.record, state, view.about)
    remove_leftovers(workspace, path)
    return view_run(path)


def _cause_of_death(view: RunView) -> str:
    """Of a process that could not say it itself."""
    lack = out_of_memory_reason(view.state.get("memory"), count_oom_kills(), view.config)
    if lack is None and shutil.disk_usage(view.path).free < RESERVE:
        lack = disk_full_message(view.path.parent.parent)
    return lack or "Its process is gone."


def list_runs(workspace: Workspace, kind: str | None = None) -> list[RunView]:
    """All runs, newest first; a damaged one is among them as failed."""
    paths = sorted(workspace.runs.glob("[!.]*"), reverse=True)
    found = []
    for path in paths:
        with suppress(UserError):  # removed while we looked, or never a run
            found.append(view_or_damaged(path))
    return [v for v in found if kind in (None, v.kind)]


def open_run(workspace: Workspace, run_id: str) -> RunView:
    """A run by its id or a part of it, a damaged one too."""
    return view_or_damaged(find_run(workspace, run_id))


def resume(workspace: Workspace, run_id: str, network: str | None = None) -> RunView:
    """Continue a run that failed, was cancelled or interrupted, from its last checkpoint.

    A run with a network of the user's own needs its name again (`network`).
    """
    view = open_run(workspace, run_id)
    if view.kind not in job_specs():
        raise UserError(f"Run {view.id} is damaged ({view.state['reason']})")
    with translate_disk_full(workspace.root), states_lock(workspace.runs):
        view = _read(view.path)  # of two that resume it at once, the second sees it queued
        if view.live or view.status == "done":
            raise UserError(f"Run {view.id} is {view.status}; there is nothing to resume.")
        check_trusted(view.config, network, f"Run {view.id}", RESUME_COMMAND.format(view.id))
        (view.path / "cancel").unlink(missing_ok=True)
        queued = {"status": "queued", "pid": None, "heartbeat": time.time(), "progress": None}
        write_json(view.path / "state.json", queued, new_folders=False)
        spawn(workspace, view.path, network)
    return view_run(view.path)


def cancel(workspace: Workspace, run_id: str) -> RunView:
    """Ask a run to stop; whoever looks at it later terminates, then kills, one that won't."""
    view = open_run(workspace, run_id)
    if not view.live:
        raise UserError(f"Run {view.id} is {view.status}; there is nothing to cancel.")
    with translate_disk_full(workspace.root):
        (view.path / "cancel").touch()
    return view_run(view.path)


def remove_run(workspace: Workspace, run_id: str) -> None:
    """Remove a run that isn't going on; what others made of it stays."""
    view = open_run(workspace, run_id)
    if view.live:
        raise UserError(f"Run {view.id} is {view.status}; cancel it first.")
    if view.kind in job_specs():
        job_specs()[view.kind].clean_up(workspace, view.id, view.config)
    _seen.pop(view.path, None)
    remove_folder(view.path)


def describe(
    workspace: Workspace, run_id: str, *, name: str | None = None, note: str | None = None
) -> RunView:
    """Give a run another name, or a note; what it did under its first name stays in run.json."""
    view = open_run(workspace, run_id)
    about = dict(view.about)
    if name is not None:
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise UserError(
                f"{name[:80]!r} cannot be a run's name: use 1 to {MAX_NAME} characters on one line."
            )
        about["name"] = name
    if note is not None:
        if len(note) > MAX_NOTE:
            raise UserError(f"A note may have {MAX_NOTE} characters, not {len(note)}.")
        about["note"] = note.strip()
    with translate_disk_full(workspace.root):
        write_json(view.path / "about.json", about, new_folders=False)
    return open_run(workspace, view.id)


def spawn(workspace: Workspace, path: Path, network: str | None = None) -> None:
    """Start the run's worker; what it may import is an argument, which no file can forge."""
    environment = {
        **WORKER_ENVIRONMENT,
        **os.environ,
        HOME_VARIABLE: str(workspace.root),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "rebalance_core.runs.worker", str(path)]
    with (path / "log.txt").open("ab") as log:
        subprocess.Popen(
            command if network is None else [*command, network],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_alive(state: Mapping[str, Any]) -> bool:
    """By its process; of another machine's, which cannot be seen from here, by its heartbeat."""
    silent = time.time() - state["heartbeat"]
    if state.get("pid") is None:
        return bool(-AHEAD < silent < START_GRACE)
    if state.get("host", host_name()) != host_name():
        return bool(-AHEAD < silent < SILENCE)
    return find_process(state["pid"], state["pid_started"]) is not None


def _enforce_cancel(path: Path, state: Mapping[str, Any]) -> None:
    """A run that was asked to stop and doesn't is terminated, then killed, with its children."""
    asked = path / "cancel"
    try:
        late = time.time() - asked.stat().st_mtime - CANCEL_GRACE
    except FileNotFoundError:
        return
    if late < 0 or state.get("host", host_name()) != host_name():
        return
    process = find_process(state.get("pid"), state.get("pid_started", 0.0))
    if process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM if late < 10 else signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
