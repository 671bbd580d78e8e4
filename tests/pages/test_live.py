"""Regions that follow a run: how often each looks, and what is drawn when the run ends."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from opening import opened
from streamlit import config

from pages.parts import live
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace

CONFIG = {"set": "p", "generator": "ddpm", "training": {"preset": "quick"}}


@pytest.fixture
def running(workspace: Workspace) -> Path:
    """A training that this process does, with two lines logged."""
    path = create_run(workspace, "train", CONFIG, name="a training")
    run = RunDirectory(path)
    run.write_state("running", **current_process(), started=time.time())
    for step in (1, 2):
        run.log(step, loss=0.5)
    return path


@pytest.fixture
def intervals(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How often each region of the page is drawn, in the page's order."""
    asked: list[float | None] = []
    fragment: Callable[..., Any] = st.fragment

    def recorded(*, run_every: float | None) -> Any:
        asked.append(run_every)
        return fragment(run_every=run_every)

    monkeypatch.setattr(st, "fragment", recorded)
    return asked


def end(path: Path) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})


def test_progress_is_looked_at_more_often_than_what_is_heavy(
    running: Path, intervals: list[float | None]
) -> None:
    opened("home")
    assert intervals == [live.POLL]
    intervals.clear()
    app = opened("runs")
    # home first; then the state, the curves, the log
    assert intervals == [live.POLL, live.POLL, live.REDRAW, live.REDRAW]
    assert any(m.value == "Last step **2**" for m in app.markdown)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (42, "42 s"),
        (59.4, "59 s"),
        (180, "3 min"),
        (4800, "1 h 20 min"),
        (7200, "2 h 0 min"),
        (172_769, "47 h 59 min"),
        (172_800, "2 days"),
        (800_000, "9 days"),
    ],
)
def test_a_duration_is_told_in_its_units(seconds: float, told: str) -> None:
    assert live.duration(seconds) == told


def test_a_long_run_is_looked_at_more_rarely(running: Path, intervals: list[float | None]) -> None:
    def takes(seconds: float) -> None:
        state = read_json(running / "state.json")
        told = {"fraction": 0.5, "stage": "", "seconds_left": seconds / 2}
        started = time.time() - seconds / 2
        write_json(running / "state.json", {**state, "started": started, "progress": told})

    for seconds, times in ((200, 1), (600, 2), (36_000, 3)):
        takes(seconds)
        app = opened("runs")
        expected = [times * live.POLL, times * live.REDRAW, times * live.REDRAW]
        assert intervals[1:] == pytest.approx(expected, rel=0.01) and not app.exception
        intervals.clear()


def test_a_run_that_turns_out_much_longer_begins_the_page_anew(
    running: Path, intervals: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page was drawn before the time left was known."""
    app = opened("runs")
    intervals.clear()
    known = {"fraction": 0.1, "stage": "", "seconds_left": 7200}

    def look(path: Path) -> RunView:
        write_json(path / "state.json", {**read_json(path / "state.json"), "progress": known})
        return view_run(path)

    monkeypatch.setattr(live, "view_run", look)
    app.run()
    assert not app.exception
    assert intervals == [live.POLL, 3 * live.POLL, 3 * live.REDRAW, 3 * live.REDRAW]


def test_what_has_ended_is_looked_at_once(running: Path, intervals: list[float | None]) -> None:
    end(running)
    opened("runs")
    assert intervals == [None] * 4


def test_an_end_draws_the_page_anew_before_it_is_shown(
    running: Path, intervals: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends between the page's look and the region's."""
    app = opened("runs")
    intervals.clear()
    drawn: list[str] = []

    def look(path: Path) -> RunView:
        end(path)
        return view_run(path)

    monkeypatch.setattr(live, "view_run", look)
    monkeypatch.setattr(live, "_status", lambda view: drawn.append(view.status))
    app.run()
    assert not app.exception
    assert intervals == [live.POLL, None, None, None], "the first region stops, the page begins"
    assert drawn == ["done"]


def test_a_run_that_goes_away_is_told_in_red(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("runs")

    def look(path: Path) -> RunView:
        return view_run(path.with_name("gone"))

    monkeypatch.setattr(live, "view_run", look)
    app.run()
    assert not app.exception
    assert any("gone" in e.value for e in app.error)


def test_no_full_collection_follows_each_look() -> None:
    assert config.get_option("runner.postScriptGC") is False
