"""The narrow door through which a trainer says what happens, and the directory behind it.

The directory is the truth: `run.json` (written once), `state.json` (replaced atomically),
`metrics.jsonl` (append only), `log.txt`, `previews/`, `checkpoints/`, `result/`.
"""

import io
import json
import os
import secrets
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rebalance_core import __version__
from rebalance_core.errors import UserError
from rebalance_core.files import folder_aside, read_json, write_bytes, write_json
from rebalance_core.workspace import Workspace

Status = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
LIVE: tuple[Status, ...] = ("queued", "running")
CHECKPOINT_EVERY = 30.0  # seconds: what a kill may cost at most, and cheap beside the training
HEARTBEAT_EVERY = 1.0  # seconds


class Cancelled(Exception):
    """Raised by a trainer that was asked to stop, after its checkpoint."""


class Run(ABC):
    """What a trainer is given. It never learns whether anybody watches."""

    def __init__(self) -> None:
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = 0.0

    @abstractmethod
    def log(self, step: int, **numbers: float | str | None) -> None:
        """Append one line of numbers for `step`."""

    @abstractmethod
    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        """Keep a picture, uint8 (H, W) or (H, W, 3), of what the model makes at `step`."""

    @abstractmethod
    def should_stop(self) -> bool:
        """True once somebody asked this run to stop."""

    @abstractmethod
    def progress(self, fraction: float, stage: str) -> None:
        """How much of the whole work is done, 0 to 1, and its present stage in words."""

    @abstractmethod
    def _write_checkpoint(self, kept: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def _read_checkpoint(self) -> dict[str, Any] | None: ...

    @abstractmethod
    def _metrics_size(self) -> int: ...

    @abstractmethod
    def _take_back_metrics(self, size: int) -> None: ...

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep tensors and plain types, from which `restore` continues exactly."""
        began = time.monotonic()
        self._write_checkpoint({"state": dict(state), "metrics_size": self._metrics_size()})
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def checkpoint_due(self) -> bool:
        """Every half minute, rarer where writing is slow: at most 5 % of the time goes there."""
        pause = max(CHECKPOINT_EVERY, 20 * self._checkpoint_cost)
        return time.monotonic() - self._last_checkpoint >= pause

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint's state, or None. Metrics logged after it are taken back."""
        kept = self._read_checkpoint()
        self._take_back_metrics(0 if kept is None else kept["metrics_size"])
        return None if kept is None else dict(kept["state"])

    def stop_here(self, state: Mapping[str, Any]) -> None:
        """Checkpoint if one is due; if asked to stop, checkpoint and raise Cancelled."""
        if self.should_stop():
            self.checkpoint(state)
            raise Cancelled
        if self.checkpoint_due():
            self.checkpoint(state)


class MemoryRun(Run):
    """A run that leaves nothing on disk; `stop_after` asks it to stop at its n-th question."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.metrics: list[dict[str, Any]] = []
        self.previews: list[tuple[int, str, np.ndarray]] = []
        self.fraction = 0.0
        self.stop_after = stop_after
        self._asked = 0
        self._payload: bytes | None = None

    def log(self, step: int, **numbers: float | str | None) -> None:
        self.metrics.append({"step": step, **numbers})

    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        self.previews.append((step, name, image))

    def should_stop(self) -> bool:
        self._asked += 1
        return self.stop_after is not None and self._asked > self.stop_after

    def progress(self, fraction: float, stage: str) -> None:
        self.fraction = fraction

    def _write_checkpoint(self, kept: Mapping[str, Any]) -> None:
        import torch

        buffer = io.BytesIO()
        torch.save(kept, buffer)
        self._payload = buffer.getvalue()

    def _read_checkpoint(self) -> dict[str, Any] | None:
        return None if self._payload is None else _load(io.BytesIO(self._payload))

    def _metrics_size(self) -> int:
        return len(self.metrics)

    def _take_back_metrics(self, size: int) -> None:
        del self.metrics[size:]


class RunDirectory(Run):
    """A run in the workspace, seen from the process that executes it."""

    def __init__(
        self,
        path: Path,
        parent: Run | None = None,
        listener: Callable[[float, str], None] | None = None,
    ) -> None:
        """`parent`: a run inside which this one executes and whose stop stops it too;
        `listener` is told each progress."""
        super().__init__()
        self.path = path
        self.record = read_json(path / "run.json")
        self._parent = parent
        self._listener = listener
        self._state: dict[str, Any] = read_json(path / "state.json")
        self._guard = threading.Lock()
        self._started = (time.time(), 0.0)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.record["config"])

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def result(self) -> Path:
        """Where the run leaves what it made."""
        folder = self.path / "result"
        folder.mkdir(exist_ok=True)
        return folder

    def log(self, step: int, **numbers: float | str | None) -> None:
        line = json.dumps({"step": step, **numbers, "time": round(time.time(), 3)})
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        from rebalance_core.images import png_bytes

        write_bytes(self.path / "previews" / f"{name}-{step:07d}.png", png_bytes(image))

    def should_stop(self) -> bool:
        if self._parent is not None and self._parent.should_stop():
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
        """Replace state.json; the heartbeat and the trainer take turns."""
        with self._guard:
            if status is not None:
                self._state["status"] = status
            self._state.update(values)
            self._state["heartbeat"] = time.time()
            write_json(self.path / "state.json", self._state)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write the state every second from a thread, so that the trainer never waits for it."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_EVERY):
                self.write_state()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write_checkpoint(self, kept: Mapping[str, Any]) -> None:
        import torch

        folder = self.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        with (folder / ".last.pt").open("wb") as file:
            torch.save(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(folder / ".last.pt", folder / "last.pt")

    def _read_checkpoint(self) -> dict[str, Any] | None:
        path = self.path / "checkpoints" / "last.pt"
        return _load(path) if path.exists() else None

    def _metrics_size(self) -> int:
        path = self.path / "metrics.jsonl"
        return path.stat().st_size if path.exists() else 0

    def _take_back_metrics(self, size: int) -> None:
        path = self.path / "metrics.jsonl"
        if path.exists():
            os.truncate(path, size)


def _load(source: Path | io.BytesIO) -> dict[str, Any]:
    import torch  # only where something learns, never on the way to a page

    kept: dict[str, Any] = torch.load(source, weights_only=True, map_location="cpu")
    return kept


def code_version() -> str:
    """The commit this code stands at, with `+` if changed since; the version without git."""
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
            cwd=here, capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return told.stdout.strip() or __version__


def create_run(
    workspace: Workspace,
    kind: str,
    config: Mapping[str, Any],
    *,
    name: str,
    seed: int = 0,
    parents: list[str] | None = None,
) -> Path:
    """Make the run's directory, queued; ids sort by time. `parents` are run ids or names."""
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    path = workspace.runs / f"{stamp}-{kind}-{secrets.token_hex(2)}"
    with folder_aside(path) as aside:
        record = {
            "kind": kind,
            "name": name,
            "config": dict(config),
            "parents": parents or [],
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


def find_run(workspace: Workspace, run_id: str) -> Path:
    """The directory of a run by its id, or by a part of the id that only one run has."""
    known = [p for p in workspace.runs.glob("[!.]*") if (p / "run.json").exists()]
    matches = [p for p in known if p.name == run_id] or [p for p in known if run_id in p.name]
    if len(matches) != 1 or not run_id:
        how = "no run" if not matches else f"{len(matches)} runs"
        raise UserError(f"{how} named {run_id!r} in {workspace.runs}; `runs list` shows them.")
    return matches[0]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics; a torn last line is left for the next look."""
    file = path / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")[:-1]
    metrics = []
    for line in lines:
        try:
            metrics.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # a torn line that a kill left in the middle
    return metrics
