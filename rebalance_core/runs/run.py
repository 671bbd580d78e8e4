"""The interface through which a trainer reports: log, preview, progress, checkpoint, stop.

`MemoryRun` implements it without a disk, `directory.RunDirectory` with one.
"""

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.errors import UserError

# Seconds of work that a kill can cost; 0: checkpoint at every step.
CHECKPOINT_EVERY = 30.0
CHECKPOINT_VARIABLE = "REBALANCE_CHECKPOINT_SECONDS"
Score = tuple[str, float]  # name of the measure, value: lower is better


class Cancelled(Exception):
    """Raised by a trainer after its last checkpoint, when a stop was requested."""


class Run(ABC):
    """What a trainer reports to. It never knows a screen or a disk."""

    def __init__(self) -> None:
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = 0.0
        self._best: Score | None = None
        self._every = checkpoint_every()

    @abstractmethod
    def log(self, step: int, **numbers: float | str | None) -> None:
        """Append one line of numbers for `step`."""

    @abstractmethod
    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        """Save an image, uint8 (H, W) or (H, W, 3), of what the model generates at `step`."""

    @abstractmethod
    def should_stop(self) -> bool:
        """Whether a stop was requested."""

    @abstractmethod
    def progress(self, fraction: float, stage: str) -> None:
        """Report the fraction of the work that is done, 0 to 1, and the name of its stage."""

    @abstractmethod
    def _write_checkpoint(self, payload: Mapping[str, Any], best: bool) -> None: ...

    @abstractmethod
    def _read_checkpoint(self) -> dict[str, Any] | None: ...

    @abstractmethod
    def _metrics_size(self) -> int: ...

    @abstractmethod
    def _truncate_metrics(self, size: int) -> None: ...

    def checkpoint(self, state: Mapping[str, Any], score: Score | None = None) -> None:
        """Save tensors and plain types, from which `restore` continues exactly.

        The last few checkpoints are kept, and the one with the lowest `score`.
        """
        start = time.monotonic()
        best = self._is_best(score)
        if best:
            self._best = score
        payload = {"state": dict(state), "metrics_size": self._metrics_size(), "best": self._best}
        self._write_checkpoint(payload, best)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - start

    def _is_best(self, score: Score | None) -> bool:
        if score is None:
            return False
        return self._best is None or score[0] != self._best[0] or score[1] < self._best[1]

    def is_checkpoint_due(self) -> bool:
        """Whether the interval has passed; it grows so that writing takes at most 5 %."""
        interval = max(self._every, 20 * self._checkpoint_cost) if self._every else 0.0
        return time.monotonic() - self._last_checkpoint >= interval

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint's state, or None; metrics logged after it are removed."""
        payload = self._read_checkpoint()
        self._truncate_metrics(0 if payload is None else payload["metrics_size"])
        if payload is None:
            return None
        self._best = payload.get("best")
        return dict(payload["state"])

    def checkpoint_or_stop(self, state: Mapping[str, Any], score: Score | None = None) -> None:
        """Checkpoint if due or the best so far; if stopped, checkpoint and raise Cancelled."""
        if self.should_stop():
            self.checkpoint(state, score)
            raise Cancelled
        if self.is_checkpoint_due() or self._is_best(score):
            self.checkpoint(state, score)


def checkpoint_every() -> float:
    """Seconds between checkpoints: $REBALANCE_CHECKPOINT_SECONDS, or 30."""
    text = os.environ.get(CHECKPOINT_VARIABLE)
    if not text:
        return CHECKPOINT_EVERY
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise UserError(
            f"{CHECKPOINT_VARIABLE} must be a number of seconds from 0 to 86,399 (got {text!r})."
        )
    return seconds


class MemoryRun(Run):
    """A run without a disk; `should_stop` returns True after `stop_after` calls."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.metrics: list[dict[str, Any]] = []
        self.previews: list[tuple[int, str, np.ndarray]] = []
        self.fraction = 0.0
        self.stop_after = stop_after
        self._stop_checks = 0
        self._payload: bytes | None = None

    def log(self, step: int, **numbers: float | str | None) -> None:
        self.metrics.append({"step": step, **numbers})

    def preview(self, step: int, image: np.ndarray, name: str = "samples") -> None:
        self.previews.append((step, name, image))

    def should_stop(self) -> bool:
        self._stop_checks += 1
        return self.stop_after is not None and self._stop_checks > self.stop_after

    def progress(self, fraction: float, stage: str) -> None:
        self.fraction = fraction

    def _write_checkpoint(self, payload: Mapping[str, Any], best: bool) -> None:
        import torch

        buffer = io.BytesIO()
        torch.save(payload, buffer)
        self._payload = buffer.getvalue()

    def _read_checkpoint(self) -> dict[str, Any] | None:
        return None if self._payload is None else load_checkpoint(io.BytesIO(self._payload))

    def _metrics_size(self) -> int:
        return len(self.metrics)

    def _truncate_metrics(self, size: int) -> None:
        del self.metrics[size:]


def load_checkpoint(source: Path | io.BytesIO) -> dict[str, Any]:
    """A checkpoint's content, with every tensor on the CPU; nothing is unpickled."""
    import torch  # only in trainers, never in pages

    payload: dict[str, Any] = torch.load(source, weights_only=True, map_location="cpu")
    return payload
