"""Fragments that poll a run: their intervals, and what is rendered when the run ends."""

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
    """A live training run of this process with two logged lines."""
    path = create_run(workspace, "train", CONFIG, name="a training")
    run = RunDirectory(path)
    run.write_state("running", **current_process(), started=time.time())
    for step in (1, 2):
        run.log(step, loss=0.5)
    return path


@pytest.fixture
def intervals(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Polling interval of each fragment, in the order of the page."""
    recorded: list[float | None] = []
    fragment: Callable[..., Any] = st.fragment

    def record(*, run_every: float | None) -> Any:
        recorded.append(run_every)
        return fragment(run_every=run_every)

    monkeypatch.setattr(st, "fragment", record)
    return recorded


def end(path: Path) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})


def test_progress_is_polled_more_often_than_expensive_elements(
    running: Path, intervals: list[float | None]
) -> None:
    opened("home")
    assert intervals == [live.POLL]
    intervals.clear()
    app = opened("runs")
    # home, then status, curves, log
    assert intervals == [live.POLL, live.POLL, live.REDRAW, live.REDRAW]
    assert any(m.value == "Last step **2**" for m in app.markdown)


@pytest.mark.parametrize(
    ("seconds", "text"),
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
def test_a_duration_is_formatted_in_its_units(seconds: float, text: str) -> None:
    assert live.format_duration(seconds) == text


def test_a_long_run_is_polled_less_often(running: Path, intervals: list[float | None]) -> None:
    def set_duration(seconds: float) -> None:
        state = read_json(running / "state.json")
        progress = {"fraction": 0.5, "stage": "", "seconds_left": seconds / 2}
        started = time.time() - seconds / 2
        write_json(running / "state.json", {**state, "started": started, "progress": progress})

    for seconds, factor in ((200, 1), (600, 2), (36_000, 3)):
        set_duration(seconds)
        app = opened("runs")
        expected = [factor * live.POLL, factor * live.REDRAW, factor * live.REDRAW]
        assert intervals[1:] == pytest.approx(expected, rel=0.01) and not app.exception
        intervals.clear()


def test_a_run_that_turns_out_much_longer_reruns_the_page(
    running: Path, intervals: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page was rendered before the remaining time was known."""
    app = opened("runs")
    intervals.clear()
    progress = {"fraction": 0.1, "stage": "", "seconds_left": 7200}

    def view_changed(path: Path) -> RunView:
        write_json(path / "state.json", {**read_json(path / "state.json"), "progress": progress})
        return view_run(path)

    monkeypatch.setattr(live, "view_run", view_changed)
    app.run()
    assert not app.exception
    assert intervals == [live.POLL, 3 * live.POLL, 3 * live.REDRAW, 3 * live.REDRAW]


def test_an_ended_run_is_not_polled(running: Path, intervals: list[float | None]) -> None:
    end(running)
    opened("runs")
    assert intervals == [None] * 4


def test_an_end_reruns_the_page_before_it_is_shown(
    running: Path, intervals: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends between the page's poll and the fragment's."""
    app = opened("runs")
    intervals.clear()
    rendered: list[str] = []

    def view_changed(path: Path) -> RunView:
        end(path)
        return view_run(path)

    monkeypatch.setattr(live, "view_run", view_changed)
    monkeypatch.setattr(live, "_status", lambda view: rendered.append(view.status))
    app.run()
    assert not app.exception
    assert intervals == [live.POLL, None, None, None], "the first fragment stops, the page reruns"
    assert rendered == ["done"]


def test_a_removed_run_is_shown_as_an_error(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("runs")

    def view_changed(path: Path) -> RunView:
        return view_run(path.with_name("gone"))

    monkeypatch.setattr(live, "view_run", view_changed)
    app.run()
    assert not app.exception
    assert any("gone" in e.value for e in app.error)


def test_no_full_garbage_collection_follows_each_rerun() -> None:
    assert config.get_option("runner.postScriptGC") is False
