"""The narrow interface through which a trainer reports, whoever watches: log, preview, progress,
checkpoint. `MemoryRun` implements it without a disk, `directory.RunDirectory` with one."""

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.errors import UserError

# Seconds: what a kill may cost at most, and cheap beside the training; 0: at every step.
CHECKPOINT_EVERY = 30.0
CHECKPOINT_VARIABLE = "REBALANCE_CHECKPOINT_SECONDS"
Score = tuple[str, float]  # what was measured, and its value: the lower the better


class Cancelled(Exception):
    """Raised by a trainer that was asked to stop, after its checkpoint."""


class Run(ABC):
    """What a trainer is given. It never learns whether anybody watches."""

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
        """Keep a picture, uint8 (H, W) or (H, W, 3), of what the model makes at `step`."""

    @abstractmethod
    def should_stop(self) -> bool:
        """True once somebody asked this run to stop."""

    @abstractmethod
    def progress(self, fraction: float, stage: str) -> None:
        """How much of the whole work is done, 0 to 1, and its present stage in words."""

    @abstractmethod
    def _write_checkpoint(self, kept: Mapping[str, Any], best: bool) -> None: ...

    @abstractmethod
    def _read_checkpoint(self) -> dict[str, Any] | None: ...

    @abstractmethod
    def _metrics_size(self) -> int: ...

    @abstractmethod
    def _truncate_metrics(self, size: int) -> None: ...

    def checkpoint(self, state: Mapping[str, Any], score: Score | None = None) -> None:
        """Keep tensors and plain types, from which `restore` continues exactly.

        The last few are kept, and the one whose `score` was the lowest of its kind.
        """
        began = time.monotonic()
        best = self._is_best(score)
        if best:
            self._best = score
        kept = {"state": dict(state), "metrics_size": self._metrics_size(), "best": self._best}
        self._write_checkpoint(kept, best)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def _is_best(self, score: Score | None) -> bool:
        if score is None:
            return False
        return self._best is None or score[0] != self._best[0] or score[1] < self._best[1]

    def checkpoint_due(self) -> bool:
        """Every half minute, rarer where writing is slow: at most 5 % of the time goes there."""
        pause = max(self._every, 20 * self._checkpoint_cost) if self._every else 0.0
        return time.monotonic() - self._last_checkpoint >= pause

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint's state, or None. Metrics logged after it are taken back."""
        kept = self._read_checkpoint()
        self._truncate_metrics(0 if kept is None else kept["metrics_size"])
        if kept is None:
            return None
        self._best = kept.get("best")
        return dict(kept["state"])

    def checkpoint_or_stop(self, state: Mapping[str, Any], score: Score | None = None) -> None:
        """Checkpoint if one is due or this is the best; if asked to stop, then raise Cancelled."""
        if self.should_stop():
            self.checkpoint(state, score)
            raise Cancelled
        if self.checkpoint_due() or self._is_best(score):
            self.checkpoint(state, score)


def checkpoint_every() -> float:
    """Seconds between checkpoints: $REBALANCE_CHECKPOINT_SECONDS, or half a minute."""
    told = os.environ.get(CHECKPOINT_VARIABLE)
    if not told:
        return CHECKPOINT_EVERY
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise UserError(
            f"{CHECKPOINT_VARIABLE}={told!r} is no number of seconds from 0 to a day; mend it."
        )
    return seconds


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

    def _write_checkpoint(self, kept: Mapping[str, Any], best: bool) -> None:
        import torch

        buffer = io.BytesIO()
        torch.save(kept, buffer)
        self._payload = buffer.getvalue()

    def _read_checkpoint(self) -> dict[str, Any] | None:
        return None if self._payload is None else load_checkpoint(io.BytesIO(self._payload))

    def _metrics_size(self) -> int:
        return len(self.metrics)

    def _truncate_metrics(self, size: int) -> None:
        del self.metrics[size:]


def load_checkpoint(source: Path | io.BytesIO) -> dict[str, Any]:
    import torch  # only where something learns, never on the way to a page

    kept: dict[str, Any] = torch.load(source, weights_only=True, map_location="cpu")
    return kept
