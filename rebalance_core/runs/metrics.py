"""Metrics of a run: the lines of `metrics.jsonl`, read as they grow."""

import threading
from pathlib import Path
from typing import Any

from rebalance_core.runs.records import MetricsLine
from rebalance_core.system.files import parse_json

MAX_TAILS = 64  # metrics files whose lines are kept in memory
MAX_LINES = 4096  # kept of each series, more than a curve has pixels
MAX_SERIES = 20_000  # further ones share one; a comparison has one for each cell
CHUNK = 2**22  # bytes read at once


class _Series:
    """Lines of one kind, thinned evenly: above MAX_LINES every other one is dropped."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, Any]]] = []  # (number of the line in the file, line)
        self.count = 0  # lines seen
        self.stride = 1  # one line of `stride` is kept, the first among them

    def takes_next(self) -> bool:
        """Count a line; whether it is to be kept."""
        self.count += 1
        return (self.count - 1) % self.stride == 0

    def append(self, number: int, line: dict[str, Any]) -> None:
        self.lines.append((number, line))
        if len(self.lines) > MAX_LINES:
            self.lines = self.lines[::2]
            self.stride *= 2


class _Tail:
    """The lines of a file that grows until a resume truncates it, and how far it was read."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self.series: dict[tuple[bytes, ...], _Series] = {}
        self.count = 0  # lines read
        self.unreadable = 0  # lines torn by a kill, or edited into what no run logs
        self.position = 0  # bytes read, up to the end of a line
        self.last = b""  # the last line read, which shows whether the file was rewritten

    def read(self, path: Path) -> None:
        """Read what was appended since the last call, a chunk at a time."""
        try:
            with path.open("rb") as file:
                file.seek(self.position - len(self.last))
                if file.read(len(self.last)) != self.last:
                    self._restart()
                    file.seek(0)
                torn = b""
                while data := file.read(CHUNK):
                    torn = self._take(torn + data)
        except OSError:
            self._restart()

    def _take(self, data: bytes) -> bytes:
        """Take the complete lines of `data`; returns the rest."""
        complete = data[: data.rfind(b"\n") + 1]
        for text in complete.splitlines():
            self._take_line(text)
        if complete:
            self.position += len(complete)
            self.last = complete[complete.rfind(b"\n", 0, -1) + 1 :]
        return data[len(complete) :]

    def _take_line(self, text: bytes) -> None:
        self.count += 1
        key = _series_key(text)
        series = self.series.get(key)
        if series is None and len(self.series) >= MAX_SERIES:
            series = self.series.setdefault((), _Series())
        elif series is None:
            series = self.series[key] = _Series()
        if not series.takes_next():
            return
        line = read_line(text)
        if line is None:
            self.unreadable += 1
        else:
            series.append(self.count, line)

    def lines(self) -> list[dict[str, Any]]:
        """The lines kept, in the order of the file, and the last one."""
        kept = sorted(
            (pair for series in self.series.values() for pair in series.lines),
            key=lambda pair: pair[0],
        )
        lines = [line for _, line in kept]
        if self.last and (not kept or kept[-1][0] < self.count):
            newest = read_line(self.last)
            if newest is not None:
                lines.append(newest)
        return lines


def _series_key(text: bytes) -> tuple[bytes, ...]:
    """The first name after the step in a line, with its value if that is a text.

    So each event and each cell of a comparison is a series of its own, which is not thinned for
    the length of the others. Not parsed, since most lines of a long file are only counted.
    """
    parts = text.split(b'"', 6)
    if len(parts) > 6 and parts[4] == b": ":
        return parts[3], parts[5]
    return tuple(parts[3:4])


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
    """The complete lines of a run's metrics; an incomplete last line is left for the next call.

    Of each series (lines with the same first name after the step) at most MAX_LINES are kept, at
    equal distances, with the newest line of the file: a curve shows no more, and a long run's file
    would fill the memory. Only what was appended since the last call is read, since pages poll.
    """
    with _tails_lock:
        return _tail(path).lines()


def count_unreadable_lines(path: Path) -> int:
    """Number of damaged lines that `read_metrics` skipped, among those it did not thin out."""
    with _tails_lock:
        return _tail(path).unreadable


def _tail(path: Path) -> _Tail:
    tail = _tails.pop(path, None) or _Tail()
    tail.read(path / "metrics.jsonl")
    _tails[path] = tail  # the last used comes last
    while len(_tails) > MAX_TAILS:
        del _tails[next(iter(_tails))]
    return tail
