"""Metrics files of any length are read in bounded memory, and no series hides another."""

import json
import tracemalloc
from pathlib import Path

from rebalance_core.runs.metrics import MAX_LINES, MAX_SERIES, count_unreadable_lines, read_metrics


def write_lines(path: Path, lines: list[dict[str, object]], mode: str = "w") -> None:
    with (path / "metrics.jsonl").open(mode) as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_a_series_is_thinned_evenly_and_ends_with_the_newest_line(tmp_path: Path) -> None:
    write_lines(tmp_path, [{"step": n, "loss": 0.5} for n in range(MAX_LINES + 2)])
    steps = [m["step"] for m in read_metrics(tmp_path)]
    assert steps == [*range(0, MAX_LINES + 1, 2), MAX_LINES + 1]
    # read on from there, as pages do: only lines at the same distance, and the newest
    write_lines(tmp_path, [{"step": MAX_LINES + 2, "loss": 0.5}], "a")
    assert [m["step"] for m in read_metrics(tmp_path)] == [*range(0, MAX_LINES + 3, 2)]


def test_a_file_read_in_steps_gives_what_it_gives_at_once(tmp_path: Path) -> None:
    lines = [{"step": n, "loss": n / 2} for n in range(3 * MAX_LINES)]
    (tmp_path / "once").mkdir()
    write_lines(tmp_path / "once", lines)
    for start in range(0, len(lines), 1000):
        write_lines(tmp_path, lines[start : start + 1000], "a")
        in_steps = read_metrics(tmp_path)
    assert in_steps == read_metrics(tmp_path / "once")


def test_a_long_series_leaves_events_validations_and_cells_whole(tmp_path: Path) -> None:
    """Lines of other names, or of another text, are series of their own."""
    rare = [
        {"step": 0, "event": "start"},
        *({"step": n, "validation": 0.1} for n in range(7)),
        *({"step": n, "cell": cell, "epoch": n} for cell in ("a", "b") for n in range(5)),
    ]
    losses: list[dict[str, object]] = [{"step": n, "loss": 0.5} for n in range(2 * MAX_LINES)]
    write_lines(tmp_path, [*losses, *rare, *losses])
    assert [m for m in read_metrics(tmp_path) if "loss" not in m] == rare


def test_unreadable_lines_of_a_thinned_file_are_counted_where_they_are_read(tmp_path: Path) -> None:
    write_lines(tmp_path, [{"step": n, "loss": 0.5} for n in range(10)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("torn\n" + '{"step": ' + "9" * 5000 + "}\n")
    assert len(read_metrics(tmp_path)) == 10
    assert count_unreadable_lines(tmp_path) == 2


def test_the_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """200,000 lines took 110 MB when all were kept."""
    write_lines(tmp_path, [{"step": n, "loss": 0.5, "time": 1.5} for n in range(200_000)])
    tracemalloc.start()
    try:
        assert len(read_metrics(tmp_path)) <= MAX_LINES + 1
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def test_a_file_of_a_series_per_line_is_bounded_too(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [{"step": n, "event": f"e{n}"} for n in range(60_000)]
    write_lines(tmp_path, lines)
    assert len(read_metrics(tmp_path)) <= MAX_SERIES + MAX_LINES + 1
