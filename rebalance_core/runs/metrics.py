"""Metrics of a run: the lines of `metrics.jsonl`, read as they grow."""

import math
import threading
from pathlib import Path
from typing import Any

from rebalance_core.system.files import parse_json

TAILS = 64  # metrics files whose lines are kept in memory


class _Tail:
    """The lines of a file that only grows until a resume cuts it, and how far it was read."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.unreadable = 0  # lines torn by a kill, or edited into what no run logs
        self.at = 0  # bytes read, up to the end of a line
        self.last = b""  # the last line read, by which a file that was cut and grew again is told

    def read(self, path: Path) -> None:
        """Read what was added since."""
        try:
            with path.open("rb") as file:
                file.seek(self.at - len(self.last))
                if file.read(len(self.last)) != self.last:
                    self._restart()
                    file.seek(0)
                data = file.read()
        except OSError:
            self._restart()
            return
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return
        for line in whole.splitlines():
            found = _metrics_line(line)
            if found is None:
                self.unreadable += 1
            else:
                self.lines.append(found)
        self.at += len(whole)
        self.last = whole[whole.rfind(b"\n", 0, -1) + 1 :]

    def _restart(self) -> None:
        self.lines, self.unreadable, self.at, self.last = [], 0, 0, b""


def _metrics_line(data: bytes) -> dict[str, Any] | None:
    """A line as `RunDirectory.log` writes it: a step, a time, numbers and words; else None."""
    try:
        line = parse_json(data)
    except ValueError:
        return None
    if not isinstance(line, dict) or not all(map(_is_logged, line.values())):
        return None
    step, moment = line.get("step"), line.get("time", 0.0)
    whole = isinstance(step, int) and isinstance(moment, int | float) and math.isfinite(moment)
    return line if whole else None


def _is_logged(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63  # what every reader can compute with
    return value is None or isinstance(value, float | str)


_tails: dict[Path, _Tail] = {}
_reading = threading.Lock()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics; a torn last line is left for the next look.

    Only what was added since the last look is read: a page looks again and again.
    """
    with _reading:
        return list(_tail(path).lines)


def count_unreadable_lines(path: Path) -> int:
    """How many lines of a run's metrics `read_metrics` skips, since they are none."""
    with _reading:
        return _tail(path).unreadable


def _tail(path: Path) -> _Tail:
    tail = _tails.pop(path, None) or _Tail()
    tail.read(path / "metrics.jsonl")
    _tails[path] = tail  # the one used last comes last
    while len(_tails) > TAILS:
        del _tails[next(iter(_tails))]
    return tail
