"""A run's directory, which is the truth: `run.json` (written once), `state.json` (replaced
atomically), `metrics.jsonl` (append only), `log.txt`, `previews/`, `checkpoints/`, `result/`."""

import json
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from rebalance_core import __version__
from rebalance_core.errors import UserError
from rebalance_core.runs.memory import read_memory
from rebalance_core.runs.records import Status, read_record, read_state
from rebalance_core.runs.run import Run, load_checkpoint
from rebalance_core.system.files import (
    atomic_folder,
    remove_stale_temporaries,
    sync_folder,
    temp_path,
    translate_disk_full,
    write_bytes,
    write_json,
)
from rebalance_core.workspace import Workspace

LIVE: tuple[Status, ...] = ("queued", "running")
KEPT = 2  # checkpoints: should the last not be whole after a power cut, there is one before it
BEST = "best.pt"
HEARTBEAT_EVERY = 1.0  # seconds
RESERVE = 16 * 1024  # bytes reserved for the last state of a run on a full disk


class RunDirectory(Run):
    """A run in the workspace, seen from the process that executes it."""

    def __init__(
        self,
        path: Path,
        parent: Run | None = None,
        listener: Callable[[float, str], None] | None = None,
        network: str | None = None,
    ) -> None:
        """`parent`: a run inside which this one executes and whose stop stops it too;
        `listener` is told each progress; `network`: the `module:function` that a person has
        named, the only one that may be imported."""
        super().__init__()
        self.path = path
        self.network = network
        self.record = read_record(path)
        self._parent = parent
        self._listener = listener
        self._state = read_state(path)
        self._guard = threading.Lock()  # over the state
        self._writing = threading.Lock()  # over its file, for which the trainer never waits
        self._started = (time.time(), 0.0)
        self._told_to_stop = threading.Event()

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.record["config"])

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def status(self) -> Status:
        status: Status = self._state["status"]
        return status

    @property
    def reason(self) -> str | None:
        return self._state.get("reason")

    @property
    def result(self) -> Path:
        """Where the run leaves what it made."""
        return self._folder("result")

    def _folder(self, name: str) -> Path:
        """A folder of the run, made on demand; the run's own is not made again once removed."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def log(self, step: int, **numbers: float | str | None) -> None:
        line = json.dumps({"step": step, **numbers, "time": round(time.time(), 3)})
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        from rebalance_core.imaging.grid import png_bytes

        path = self._folder("previews") / f"{name}-{step:07d}.png"
        write_bytes(path, png_bytes(image), new_folders=False)

    def stop(self) -> None:
        """Have `should_stop` say so: the system wants this process to end."""
        self._told_to_stop.set()

    def should_stop(self) -> bool:
        if self._told_to_stop.is_set() or self.is_cancelled():
            return True
        return self._parent is not None and self._parent.should_stop()

    def is_cancelled(self) -> bool:
        """By somebody, not by the system; of the run within which this one executes, too."""
        if isinstance(self._parent, RunDirectory) and self._parent.is_cancelled():
            return True
        return (self.path / "cancel").exists()

    def progress(self, fraction: float, stage: str) -> None:
        with self._guard:
            began, at = self._started
            if fraction < at or self._state.get("progress") is None:
                self._started = began, at = time.time(), fraction
            gained = fraction - at
            left = (time.time() - began) / gained * (1 - fraction) if gained > 0 else None
            self._state["progress"] = {
                "fraction": round(min(max(fraction, 0.0), 1.0), 4),
                "stage": stage,
                "seconds_left": None if left is None else round(left, 1),
            }
        if self._listener is not None:
            self._listener(fraction, stage)

    def write_state(self, status: Status | None = None, **values: Any) -> None:
        """Replace state.json; raises FileNotFoundError if the run was removed meanwhile."""
        with self._writing:
            with self._guard:
                if status is not None:
                    self._state["status"] = status
                self._state.update(values)
                self._state["heartbeat"] = time.time()
                state = dict(self._state)
            write_json(self.path / "state.json", state, new_folders=False)

    def end(self, status: Status, reason: str | None = None) -> None:
        """Say how the run ended; on a full disk in the room that was kept for this."""
        (self.path / ".reserve").unlink(missing_ok=True)
        self.write_state(status, reason=reason, finished=time.time())

    def reserve_disk(self) -> None:
        """Take a little room now, for the last word; raises UserError if there is none."""
        with translate_disk_full(self.path.parent.parent):
            write_bytes(self.path / ".reserve", bytes(RESERVE), new_folders=False)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Write the state every second from a thread, so that the trainer never waits for it."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_EVERY):
                # A full disk or a removed run is for the trainer to find, at its next word.
                with suppress(OSError):
                    self.write_state(memory=read_memory())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write_checkpoint(self, kept: Mapping[str, Any], best: bool) -> None:
        """Aside, to the disk, renamed: a kill or a full disk leaves the ones before whole."""
        folder = self._folder("checkpoints")
        remove_stale_temporaries(folder)
        there = self._prune(folder)  # a kill may have come before it, below
        target = folder / f"{int(there[-1].stem) + 1 if there else 1:06d}.pt"
        aside = temp_path(target)
        with translate_disk_full(self.path.parent.parent):
            try:
                with aside.open("wb") as file:
                    self._dump(kept, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(aside, target)
            finally:
                aside.unlink(missing_ok=True)
            if best:
                _link(target, folder / BEST)
            sync_folder(folder)
        self._prune(folder)

    def _prune(self, folder: Path) -> list[Path]:
        """Remove all but the last few; these."""
        there = list_checkpoints(folder)
        for old in there[:-KEPT]:
            old.unlink(missing_ok=True)
        return there[-KEPT:]

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """The newest that can be read; raises UserError if there are some, but none can be."""
        folder = self.path / "checkpoints"
        best = [folder / BEST] if (folder / BEST).exists() else []
        tried = [*reversed(list_checkpoints(folder)), *best]
        for path in tried:
            try:
                return self._load(path)
            except Exception as error:  # whatever a reader raises over damaged or hostile bytes
                print(f"{path} cannot be read ({type(error).__name__}); trying the one before.")
        if tried:
            raise UserError(
                f"No checkpoint in {folder} can be read; remove that folder to start anew."
            )
        return None

    def _dump(self, kept: Mapping[str, Any], file: IO[bytes]) -> None:
        import torch

        torch.save(kept, file)

    def _load(self, path: Path) -> dict[str, Any]:
        return load_checkpoint(path)

    def _metrics_size(self) -> int:
        """Of what is on the disk for good: a checkpoint must not count lines a power cut took."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return 0
        with path.open("rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    def _truncate_metrics(self, size: int) -> None:
        path = self.path / "metrics.jsonl"
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder of them, oldest first, without the best."""
    found = (path for path in folder.glob("*.pt") if path.stem.isdecimal())
    return sorted(found, key=lambda path: int(path.stem))


def last_checkpoint(path: Path) -> Path | None:
    """The checkpoint that a run's directory would be resumed from."""
    return next(reversed(list_checkpoints(path / "checkpoints")), None)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, atomically; a copy where there is no such thing."""
    aside = temp_path(target)
    try:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def code_version() -> str:
    """The commit this code stands at, with `+` if changed since; the version without git."""
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return told.stdout.strip() or __version__


def create_run(
    workspace: Workspace,
    kind: str,
    config: Mapping[str, Any],
    *,
    name: str,
    seed: int | None = None,
    parents: Sequence[str] = (),
) -> Path:
    """Make the run's directory, queued; ids sort by time. `parents` are run ids.

    Checks nothing: see `start.record_run`.
    """
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    path = workspace.runs / f"{stamp}-{kind}-{secrets.token_hex(2)}"
    with atomic_folder(path) as aside:
        record = {
            "kind": kind,
            "name": name,
            "config": dict(config),
            "parents": list(parents),
            "seed": seed,
            "code": code_version(),
            "created": time.time(),
        }
        write_json(aside / "run.json", record)
        write_json(
            aside / "state.json",
            {"status": "queued", "pid": None, "heartbeat": time.time(), "progress": None},
        )
    return path


def find_run(workspace: Workspace, run_id: str | None) -> Path:
    """The directory of a run by its id, or by a part of the id that only one run has; images that
    somebody brought come of no run, so None is refused like one that is gone."""
    known = [p for p in workspace.runs.glob("[!.]*") if is_run(p)]
    matches = [p for p in known if p.name == run_id]
    if not matches and run_id:
        matches = [p for p in known if run_id in p.name]
    if len(matches) != 1:
        how = "no run" if not matches else f"{len(matches)} runs"
        raise UserError(f"{how} named {run_id!r} in {workspace.runs}; `runs list` shows them.")
    return matches[0]


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, readable or not."""
    try:
        (path / "run.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it is there, but not for us
        return True
    return True
