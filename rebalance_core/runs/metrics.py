"""Metrics of a run: the lines of `metrics.jsonl`, read as they grow."""

import threading
from pathlib import Path
from typing import Any

from rebalance_core.runs.records import MetricsLine
from rebalance_core.system.files import parse_json

MAX_TAILS = 64  # metrics files whose lines are kept in memory


class _Tail:
    """The lines of a file that grows until a resume truncates it, and how far it was read."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.unreadable = 0  # lines torn by a kill, or edited into what no run logs
        self.position = 0  # bytes read, up to the end of a line
        self.last = b""  # the last line read, which shows whether the file was rewritten

    def read(self, path: Path) -> None:
        """Read what was appended since the last call."""
        try:
            with path.open("rb") as file:
                file.seek(self.position - len(self.last))
                if file.read(len(self.last)) != self.last:
                    self._restart()
                    file.seek(0)
                data = file.read()
        except OSError:
            self._restart()
            return
        complete = data[: data.rfind(b"\n") + 1]
        if not complete:
            return
        for text in complete.splitlines():
            line = read_line(text)
            if line is None:
                self.unreadable += 1
            else:
                self.lines.append(line)
        self.position += len(complete)
        self.last = complete[complete.rfind(b"\n", 0, -1) + 1 :]

    def _restart(self) -> None:
        self.lines, self.unreadable, self.position, self.last = [], 0, 0, b""


def read_line(text: bytes) -> dict[str, Any] | None:
    """A line as `RunDirectory.log` writes it, {step, time, numbers and texts}; None for others."""
    try:
        line: dict[str, Any] = parse_json(text)
        MetricsLine.model_validate(line)
    except ValueError:
        return None
    return line


_tails: dict[Path, _Tail] = {}
_tails_lock = threading.Lock()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a run's metrics; an incomplete last line is left for the next call.

    Only what was appended since the last call is read, since pages poll.
    """
    with _tails_lock:
        return list(_tail(path).lines)


def count_unreadable_lines(path: Path) -> int:
    """Number of lines of a run's metrics that `read_metrics` skips because they are damaged."""
    with _tails_lock:
        return _tail(path).unreadable


def _tail(path: Path) -> _Tail:
    tail = _tails.pop(path, None) or _Tail()
    tail.read(path / "metrics.jsonl")
    _tails[path] = tail  # the last used comes last
    while len(_tails) > MAX_TAILS:
        del _tails[next(iter(_tails))]
    return tail
