"""Every pick in a page's select box is taken, however somebody came to the page."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from slow_line import Line
from studio import PlaywrightError, Server, settled, start_server, visit
from test_runs import set_state

from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import list_runs
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace

SETS = ("mild", "strong", "severe")


def ended_run(workspace: Workspace, kind: str, config: dict[str, Any], name: str) -> Path:
    path = create_run(workspace, kind, config, name=name)
    set_state(path, status="done", started=0.0, finished=1.0)
    return path


@pytest.fixture
def several(tiny: Workspace) -> Workspace:
    """Three training sets beside the dataset's own, and three trainings on it."""
    for name, skew in zip(SETS, ("step:2", "step:5", "step:10"), strict=True):
        make_set(tiny, name, SetConfig(dataset="p", skew=skew))
    config = {"set": "p", "generator": "ddpm", "training": {"preset": "quick"}}
    for name in ("first", "second", "third"):
        ended_run(tiny, "train", config, name)
    return tiny


def pick(page: Page, label: str, option: str) -> None:
    """Pick an option and wait for nothing; open the list again where a redraw closed it."""
    box = page.get_by_role("combobox", name=label, exact=True)
    entry = page.get_by_role("option").filter(has_text=re.compile(f"^{option}")).first
    for _ in range(3):
        box.click()
        try:
            entry.click(timeout=5_000)
            return
        except PlaywrightError:
            page.keyboard.press("Escape")
    raise AssertionError(f"the list of {label} never showed {option}")


def shows(page: Page, label: str, option: str, key: str) -> None:
    """The box and the address show the option, also once the page is drawn."""
    box = page.get_by_role("combobox", name=label, exact=True)
    for _ in range(2):
        expect(box).to_have_value(re.compile(f"^{option}"))
        settled(page)
    expect(page).to_have_url(re.compile(rf"[?&]{key}="))


def pick_each(page: Page, label: str, options: list[str], key: str) -> None:
    for option in options:
        pick(page, label, option)
        shows(page, label, option, key)


def test_thirty_picks_over_several_pages_are_all_taken(
    page: Page, server: Server, several: Workspace
) -> None:
    page.goto(server.url)
    sets, runs = ["strong", "p", "mild", "severe", "mild"], ["first", "third", "second"]
    for name, label, options, key in [
        ("Comparison", "Training set", sets, "set"),
        ("Runs", "Run", [*runs, "first", "second"], "run"),
        ("Generators", "Training set", [*sets[:4], "p"], "set"),
        ("Samples", "Generator", [*runs, "first", "third"], "run"),
        ("Comparison", "Training set", sets[::-1], "set"),
        ("Runs", "Run", [*runs, "third", "first"], "run"),
    ]:
        visit(page, name)
        pick_each(page, label, options, key)


def test_picks_are_taken_by_address_after_a_restart_and_quickly(
    page: Page, server: Server, several: Workspace, home: Path, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/comparison?set=strong")
    shows(page, "Training set", "strong", "set")
    pick_each(page, "Training set", ["severe"], "set")
    # a reload keeps it, Back takes it back
    page.reload()
    shows(page, "Training set", "severe", "set")
    page.go_back()
    shows(page, "Training set", "strong", "set")
    # one after another, while the page is still being drawn
    for option in ("mild", "severe", "p", "strong", "mild"):
        pick(page, "Training set", option)
    shows(page, "Training set", "mild", "set")
    expect(page).to_have_url(re.compile("set=mild"))

    restarted = start_server(home, tmp_path / "restarted.log")
    try:
        page.goto(f"{restarted.url}/runs")
        settled(page)
        pick_each(page, "Run", ["first", "third"], "run")
    finally:
        restarted.stop()


def test_a_slow_line_loses_no_pick(page: Page, server: Server, several: Workspace) -> None:
    """The second pick is sent with the address from before the first."""
    line = Line(page)
    page.goto(f"{server.url}/comparison?set=strong")
    shows(page, "Training set", "strong", "set")
    line.slow = True
    pick(page, "Training set", "mild")
    page.wait_for_timeout(500)
    pick(page, "Training set", "severe")
    page.wait_for_timeout(1500)  # for the server to draw the page with the address from before
    line.release()
    shows(page, "Training set", "severe", "set")
    expect(page).to_have_url(re.compile("set=severe"))


def test_a_renamed_run_is_shown_by_its_new_name_and_a_removed_one_no_longer(
    page: Page, server: Server, several: Workspace
) -> None:
    page.goto(server.url)
    visit(page, "Runs")
    pick_each(page, "Run", ["second"], "run")
    parts = page.get_by_test_id("stButtonGroup")
    parts.get_by_text("Name and note", exact=True).click()
    page.get_by_label("Name", exact=True).fill("the better one")
    page.get_by_role("button", name="Save").click()
    shows(page, "Run", "the better one", "run")
    expect(page.get_by_test_id("stToast")).to_contain_text("Saved the name and note of run the")
    parts.get_by_text("Remove", exact=True).click()
    page.get_by_text("Yes, remove this run").click()
    settled(page)
    page.get_by_role("button", name="Remove", exact=True).click()
    shows(page, "Run", "third", "run")
    expect(page.get_by_test_id("stToast").last).to_contain_text("Removed run the better one")
    third = next(v for v in list_runs(several, "train") if v.name == "third")
    expect(page).to_have_url(re.compile(f"run={third.id}"))
