"""A run on disk; its directory is the truth.

`run.json` is written once, `state.json` replaced atomically, `metrics.jsonl` appended to; beside
them are `log.txt`, `previews/`, `checkpoints/` and `result/`.
"""

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
from rebalance_core.runs.records import (
    Progress,
    RunRecord,
    RunState,
    Status,
    read_record,
    read_state,
)
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
KEPT = 2  # checkpoints: after a power cut the last may be incomplete
BEST = "best.pt"
HEARTBEAT_EVERY = 1.0  # seconds
RESERVE = 16 * 1024  # bytes reserved for the last state of a run on a full disk
STOPPED = "Stopped on request."
PROCESS_GONE = "The process exited unexpectedly."


class RunDirectory(Run):
    """A run in the workspace, seen from the process that executes it."""

    def __init__(
        self,
        path: Path,
        parent: Run | None = None,
        listener: Callable[[float, str], None] | None = None,
        network: str | None = None,
    ) -> None:
        """`parent`: the run inside which this one executes, whose stop stops it too; `listener`
        receives each progress; `network`: the `module:function` that a person has named, the only
        one that may be imported."""
        super().__init__()
        self.path = path
        self.network = network
        self.record = read_record(path)
        self._parent = parent
        self._listener = listener
        self._state = read_state(path).model_dump()
        self._state_lock = threading.Lock()
        self._clock: tuple[float, float] | None = None  # seconds before, start
        self._file_lock = threading.Lock()  # of its file, for which the trainer never waits
        self._started = (time.time(), 0.0)
        self._stop_requested = threading.Event()

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.record.config)

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
        """The folder of what the run made."""
        return self._folder("result")

    def _folder(self, name: str) -> Path:
        """A subfolder, made on demand; the run's own folder is not made again once removed."""
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
        """Request a stop because the system terminates this process."""
        self._stop_requested.set()

    def should_stop(self) -> bool:
        if self._stop_requested.is_set() or self.is_cancelled():
            return True
        return self._parent is not None and self._parent.should_stop()

    def is_cancelled(self) -> bool:
        """Whether a person requested the stop, of this run or of the one it executes in."""
        if isinstance(self._parent, RunDirectory) and self._parent.is_cancelled():
            return True
        return (self.path / "cancel").exists()

    def progress(self, fraction: float, stage: str) -> None:
        with self._state_lock:
            start, first = self._started
            if fraction < first or self._state.get("progress") is None:
                self._started = start, first = time.time(), fraction
            gained = fraction - first
            left = (time.time() - start) / gained * (1 - fraction) if gained > 0 else None
            self._state["progress"] = {
                "fraction": round(min(max(fraction, 0.0), 1.0), 4),
                "stage": stage,
                "seconds_left": None if left is None else round(left, 1),
            }
        if self._listener is not None:
            self._listener(fraction, stage)

    def write_state(self, status: Status | None = None, **values: Any) -> None:
        """Replace state.json; raises FileNotFoundError if the run was removed meanwhile."""
        with self._file_lock:
            with self._state_lock:
                if status is not None:
                    self._state["status"] = status
                self._state.update(values)
                self._state["heartbeat"] = time.time()
                if self._clock is not None:
                    before, start = self._clock
                    self._state["worked"] = before + time.monotonic() - start
                state = dict(self._state)
            write_json(self.path / "state.json", state, new_folders=False)

    def start_clock(self) -> None:
        """Count seconds of work from now on, on top of those before an interruption."""
        self._clock = float(self._state.get("worked") or 0.0), time.monotonic()

    def end(self, status: Status, reason: str | None = None) -> None:
        """Record how the run ended; on a full disk, in the reserved space."""
        (self.path / ".reserve").unlink(missing_ok=True)
        if status == "done":  # whatever stage was the last to be reported
            finished = Progress(fraction=1.0, seconds_left=0.0).model_dump()
            with self._state_lock:
                self._state["progress"] = finished
        self.write_state(status, reason=reason, finished=time.time())

    def reserve_disk(self) -> None:
        """Reserve the space that `end` needs; raises UserError if the disk is full."""
        with translate_disk_full(self.path.parent.parent):
            write_bytes(self.path / ".reserve", bytes(RESERVE), new_folders=False)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Write the state every second from a thread, so that the trainer never waits for it."""
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(HEARTBEAT_EVERY):
                # The trainer itself meets a full disk or a removed run at its next write.
                with suppress(OSError):
                    self.write_state(memory=read_memory().model_dump())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()

    def _write_checkpoint(self, payload: Mapping[str, Any], best: bool) -> None:
        """Write atomically: a kill or a full disk leaves earlier checkpoints intact."""
        folder = self._folder("checkpoints")
        remove_stale_temporaries(folder)
        earlier = self._prune(folder)  # a kill may have come before the call below
        target = folder / f"{int(earlier[-1].stem) + 1 if earlier else 1:06d}.pt"
        temporary = temp_path(target)
        with translate_disk_full(self.path.parent.parent):
            try:
                with temporary.open("wb") as file:
                    self._dump(payload, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            if best:
                _link(target, folder / BEST)
            sync_folder(folder)
        self._prune(folder)

    def _prune(self, folder: Path) -> list[Path]:
        """Remove all but the last few checkpoints and return those."""
        checkpoints = list_checkpoints(folder)
        for old in checkpoints[:-KEPT]:
            old.unlink(missing_ok=True)
        return checkpoints[-KEPT:]

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """The newest readable checkpoint, or None; raises UserError if all are unreadable."""
        folder = self.path / "checkpoints"
        best = [folder / BEST] if (folder / BEST).exists() else []
        candidates = [*reversed(list_checkpoints(folder)), *best]
        for path in candidates:
            try:
                return self._load(path)
            except Exception as error:  # whatever damaged or hostile bytes raise
                print(f"{path} cannot be read ({type(error).__name__}); trying the one before.")
        if candidates:
            raise UserError(
                f"No checkpoint in {folder} can be read; remove that folder to start from scratch."
            )
        return None

    def _dump(self, payload: Mapping[str, Any], file: IO[bytes]) -> None:
        import torch

        torch.save(payload, file)

    def _load(self, path: Path) -> dict[str, Any]:
        return load_checkpoint(path)

    def _metrics_size(self) -> int:
        """Bytes synced to the disk: a checkpoint must not count lines lost in a power cut."""
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
    """The numbered checkpoints in a run's folder, oldest first, without the best."""
    paths = (path for path in folder.glob("*.pt") if path.stem.isdecimal())
    return sorted(paths, key=lambda path: int(path.stem))


def last_checkpoint(path: Path) -> Path | None:
    """The checkpoint from which a run would be resumed, or None."""
    return next(reversed(list_checkpoints(path / "checkpoints")), None)


def _link(source: Path, target: Path) -> None:
    """Hard-link a file atomically, or copy it where links are not supported."""
    temporary = temp_path(target)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def code_version() -> str:
    """The commit of this code, with `+` if it was changed since; without git, the version."""
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return result.stdout.strip() or __version__


def create_run(
    workspace: Workspace,
    kind: str,
    config: Mapping[str, Any],
    *,
    name: str,
    seed: int | None = None,
    parents: Sequence[str] = (),
) -> Path:
    """Make the directory of a queued run; ids sort by time, `parents` are run ids.

    Nothing is checked here: see `start.record_run`.
    """
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    path = workspace.runs / f"{stamp}-{kind}-{secrets.token_hex(2)}"
    record = RunRecord(
        kind=kind,
        name=name,
        config=dict(config),
        parents=list(parents),
        seed=seed,
        code=code_version(),
        created=time.time(),
    )
    with atomic_folder(path) as folder:
        write_json(folder / "run.json", record.model_dump())
        write_json(folder / "state.json", queued_state().model_dump())
    return path


def queued_state() -> RunState:
    """The state of a run that waits for its process."""
    return RunState(status="queued", heartbeat=time.time())


def find_run(workspace: Workspace, run_id: str | None) -> Path:
    """The directory of a run by its id, or by a part of the id that only one run has.

    Raises UserError for any other name, and for None, the run of imported synthetic images.
    """
    paths = [p for p in workspace.runs.glob("[!.]*") if is_run(p)]
    matches = [p for p in paths if p.name == run_id]
    if not matches and run_id:
        matches = [p for p in paths if run_id in p.name]
    if len(matches) != 1:
        count = "no run" if not matches else f"{len(matches)} runs"
        raise UserError(f"{count} named {run_id!r} in {workspace.runs}; `runs list` shows them.")
    return matches[0]


def is_run(path: Path) -> bool:
    """Whether a folder is a run, even if its files cannot be read."""
    try:
        (path / "run.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it exists, but may not be read
        return True
    return True
