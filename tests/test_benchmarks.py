"""The line that every benchmark prints, its exit code, and which files `make bench` runs."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks._report import Guard, medians, report

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
LINE: dict[str, Any] = {
    "claim": "seconds to draw",
    "ours": 2.0,
    "theirs": 5.0,
    "unit": "s",
    "ratio": 2.5,
    "target": 2.0,
}


def test_the_line_holds_all_values_and_the_exit_code_is_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guards = {"difference": Guard(0.01, True), "same_images": True, "least": 0, "names": ["a"]}
    assert report(**LINE, guards=guards, pairs=[[2.0, 5.0]]) == 0
    assert tuple(capsys.readouterr()) == (
        '{"claim": "seconds to draw", "ours": 2.0, "theirs": 5.0, "unit": "s", "ratio": 2.5, '
        '"target": 2.0, "guards": {"difference": 0.01, "same_images": true, "least": 0, '
        '"names": ["a"]}, "pairs": [[2.0, 5.0]]}\n',
        "",
    )


@pytest.mark.parametrize(
    ("guards", "target_met", "failed"),
    [
        ({"difference": Guard(0.03, False), "same_images": True}, True, "difference"),
        ({"difference": Guard(0.03, np.False_)}, True, "difference"),  # a comparison of arrays
        ({"same_images": False, "steps": 3}, True, "same_images"),
        ({"same_images": True}, False, "target 2.0"),
        ({"a": False, "b": Guard(1, False)}, False, "target 2.0, a, b"),
    ],
)
def test_a_failed_guard_or_a_missed_target_is_named_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str], guards: dict[str, Any], target_met: bool, failed: str
) -> None:
    assert report(**LINE, guards=guards, target_met=target_met) == 1
    assert capsys.readouterr().err == f"failed: {failed}\n"


def test_medians_are_of_each_side_and_of_the_ratio_within_the_pairs() -> None:
    ours, theirs = [1.0, 2.0, 4.00004], [5.0, 4.0, 4.0]  # ratios 5, 2 and almost 1
    assert medians(ours, theirs) == {"ours": 2.0, "theirs": 4.0, "ratio": 2.0}
    assert medians(ours, theirs, ratio="ours / theirs")["ratio"] == 0.5
    assert medians([1.23456], [3.0], digits=3) == {"ours": 1.235, "theirs": 3.0, "ratio": 2.43}


def test_every_benchmark_reports_by_the_one_function() -> None:
    runnable = [path for path in BENCHMARKS if not path.name.startswith("_")]
    assert len(runnable) >= 14
    for path in runnable:
        source = path.read_text()
        assert len(re.findall(r"return report\(", source)) == 1, path.name
        assert '"claim":' not in source, path.name


def test_make_bench_runs_every_file_but_those_that_start_with_an_underscore() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (pattern,) = re.findall(r"for file in (benchmarks/\S+);", makefile)
    listed = subprocess.run(
        ["sh", "-c", f"ls {pattern}"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wanted = [p.name for p in BENCHMARKS if not p.name.startswith("_")]
    assert sorted(Path(line).name for line in listed.stdout.split()) == wanted
