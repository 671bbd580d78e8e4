"""The local executor: a detached process per job, a lock per device as the queue."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.files import read_json, remove_folder, sweep, write_json
from rebalance_core.processes import live_process
from rebalance_core.runs.run import LIVE, RunDirectory, Status, create_run, find_run
from rebalance_core.workspace import HOME_VARIABLE, Workspace

CANCEL_GRACE = 30.0  # seconds a run has to checkpoint before it is terminated, then killed
# Threads that spin for long at every barrier stand still as soon as a browser wants a core; with
# short spins a step loses little (benchmarks/busy_neighbour.py).
SPIN = {"GOMP_SPINCOUNT": "5000"}
START_GRACE = 20.0  # seconds a queued run may have no process yet

Job = Callable[[Workspace, RunDirectory], Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """What executes a kind of run (imported in the worker only); whether it needs the device,
    which may depend on its config: then for which values of `extractor`."""

    function: str
    device: bool
    device_for: tuple[str, ...] = ()

    def needs_device(self, config: Mapping[str, Any]) -> bool:
        return self.device or config.get("extractor") in self.device_for

    def job(self) -> Job:
        module, _, name = self.function.partition(":")
        job: Job = getattr(import_module(module), name)
        return job


KINDS = {
    "import": Kind("rebalance_core.datasets.importing:import_job", device=False),
    "poses": Kind("rebalance_core.poses.clustering:poses_job", False, ("vgg16", "resnet18")),
    "weights": Kind("rebalance_core.poses.weights:weights_job", device=False),
    "train": Kind("rebalance_core.generators.training:train_job", device=True),
    "sample": Kind("rebalance_core.synthesis.sampling:sample_job", device=True),
    "interpolate": Kind("rebalance_core.synthesis.morphing:morph_job", device=True),
    "compare": Kind("rebalance_core.comparison.study:compare_job", device=True),
    "study": Kind("rebalance_core.whole_path:study_job", device=True),
}


@dataclass(frozen=True)
class RunView:
    """A run as pages and commands see it: read from disk, never written."""

    path: Path
    record: dict[str, Any]
    state: dict[str, Any]

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def name(self) -> str:
        return str(self.record["name"])

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

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the job returned; empty until it is done."""
        path = self.path / "result" / "result.json"
        return dict(read_json(path)) if path.exists() else {}


def view_run(path: Path) -> RunView:
    """Read a run, first setting right a state whose process is gone."""
    record, state = read_json(path / "run.json"), read_json(path / "state.json")
    if state["status"] in LIVE and not _has_process(state):
        state = read_json(path / "state.json")  # it may have ended since we read it
        if state["status"] in LIVE:
            asked = (path / "cancel").exists()
            state["status"] = "cancelled" if asked else "interrupted"
            state["reason"] = "Stopped on request." if asked else "Its process is gone."
            write_json(path / "state.json", state)
            sweep(Workspace(path.parent.parent).datasets)  # half an import
    elif state["status"] in LIVE:
        _insist(path, state)
    return RunView(path, record, state)


def list_runs(workspace: Workspace, kind: str | None = None) -> list[RunView]:
    """All runs, newest first."""
    paths = sorted(workspace.runs.glob("[!.]*"), reverse=True)
    found = []
    for path in paths:
        try:
            found.append(view_run(path))
        except UserError:
            if (path / "run.json").exists():
                raise
            # removed while we looked, or no run
    return [v for v in found if kind in (None, v.kind)]


def submit(
    workspace: Workspace,
    kind: str,
    config: Mapping[str, Any],
    *,
    name: str,
    seed: int = 0,
    parents: list[str] | None = None,
) -> RunView:
    """Make a run and hand it to a process of its own, which outlives this one."""
    path = create_run(workspace, kind, config, name=name, seed=seed, parents=parents)
    _spawn(workspace, path)
    return view_run(path)


def resume(workspace: Workspace, run_id: str) -> RunView:
    """Continue a run that failed, was cancelled or interrupted, from its last checkpoint."""
    view = view_run(find_run(workspace, run_id))
    if view.live or view.status == "done":
        raise UserError(f"Run {view.id} is {view.status}; there is nothing to resume.")
    (view.path / "cancel").unlink(missing_ok=True)
    queued = {"status": "queued", "pid": None, "heartbeat": time.time(), "progress": None}
    write_json(view.path / "state.json", queued)
    _spawn(workspace, view.path)
    return view_run(view.path)


def cancel(workspace: Workspace, run_id: str) -> RunView:
    """Ask a run to stop; whoever looks at it later terminates, then kills, one that won't."""
    view = view_run(find_run(workspace, run_id))
    if not view.live:
        raise UserError(f"Run {view.id} is {view.status}; there is nothing to cancel.")
    (view.path / "cancel").touch()
    return view_run(view.path)


def remove_run(workspace: Workspace, run_id: str) -> None:
    """Remove a run that isn't going on; what others made of it stays."""
    view = view_run(find_run(workspace, run_id))
    if view.live:
        raise UserError(f"Run {view.id} is {view.status}; cancel it first.")
    if view.kind == "import":  # an upload waits for a resume until now
        from rebalance_core.datasets.importing import remove_upload

        remove_upload(workspace, str(view.config["source"]))
    remove_folder(view.path)


def _spawn(workspace: Workspace, path: Path) -> None:
    environment = {
        **SPIN,
        **os.environ,
        HOME_VARIABLE: str(workspace.root),
        "PYTHONUNBUFFERED": "1",
    }
    with (path / "log.txt").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "rebalance_core.runs.worker", str(path)],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _has_process(state: Mapping[str, Any]) -> bool:
    if state.get("pid") is None:
        return bool(time.time() - state["heartbeat"] < START_GRACE)
    return live_process(state["pid"], state["pid_started"]) is not None


def _insist(path: Path, state: Mapping[str, Any]) -> None:
    """A run that was asked to stop and doesn't is terminated, then killed, with its children."""
    asked = path / "cancel"
    try:
        late = time.time() - asked.stat().st_mtime - CANCEL_GRACE
    except FileNotFoundError:
        return
    process = live_process(state.get("pid"), state.get("pid_started", 0.0))
    if late < 0 or process is None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM if late < 10 else signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
