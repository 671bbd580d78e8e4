"""A training set's name follows what is chosen, and saving it is noticed."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from slow_line import Line
from studio import Server, settled

from rebalance_core.training_sets.resolve import TrainingSet, open_set
from rebalance_core.workspace import Workspace


@pytest.fixture
def handle(page: Page, server: Server, tiny: Workspace) -> Locator:
    """The slider of the ratio on the Data page, at 10."""
    page.goto(f"{server.url}/data?dataset=p&skew=step")
    expect(name_field(page)).to_have_value("p-step10")
    settled(page)
    return page.get_by_role("slider", name="Ratio ρ")


def name_field(page: Page) -> Locator:
    return page.get_by_label("Name of the training set")


def save(page: Page) -> None:
    page.get_by_role("button", name="Save training set").click()


def test_a_name_follows_its_slider_and_saving_is_noticed(
    page: Page, handle: Locator, tiny: Workspace
) -> None:
    handle.press("ArrowRight")
    page.wait_for_timeout(400)
    handle.press("ArrowRight")
    expect(name_field(page)).to_have_value("p-step12")
    for _ in range(8):
        handle.press("ArrowRight")
    expect(name_field(page)).to_have_value("p-step20")
    settled(page)
    expect(name_field(page)).to_have_value("p-step20")
    save(page)
    made = f"Saved p-step20: {len(open_when_saved(page, tiny, 'p-step20').train)} training images."
    expect(page.get_by_test_id("stToast")).to_contain_text(made)
    line = page.get_by_text(f"{made} Next: Poses or Generators.")
    expect(line).to_be_in_viewport()
    assert open_set(tiny, "p-step20").config.skew == "step:20"

    # what somebody typed is not replaced; clearing the field brings the suggestion back
    name_field(page).fill("mine")
    handle.press("ArrowRight")
    expect(page).to_have_url(re.compile("rho=21"))
    settled(page)
    expect(name_field(page)).to_have_value("mine")
    name_field(page).fill("")
    name_field(page).press("Enter")
    expect(name_field(page)).to_have_value("p-step21")
    handle.press("ArrowLeft")
    expect(name_field(page)).to_have_value("p-step20")

    # a refusal is one sentence, and neither toast nor line say anything was saved
    settled(page)
    save(page)
    expect(page.get_by_text("'p-step20' is taken by another training set")).to_be_visible()
    # the line leads on
    page.get_by_test_id("stMain").get_by_role("link", name="Generators").click()
    expect(page.get_by_role("heading", name="Generators", exact=True)).to_be_visible()


def open_when_saved(page: Page, workspace: Workspace, name: str) -> TrainingSet:
    """The set as soon as the page shows that it is saved."""
    expect(page.get_by_text(f"Saved {name}: ").first).to_be_visible()
    return open_set(workspace, name)


def test_a_name_follows_its_slider_on_a_slow_line(
    page: Page, server: Server, tiny: Workspace
) -> None:
    """The second and third press are sent with the name suggested before the first."""
    line = Line(page)
    page.goto(f"{server.url}/data?dataset=p&skew=step")
    expect(name_field(page)).to_have_value("p-step10")
    settled(page)
    handle = page.get_by_role("slider", name="Ratio ρ")
    line.slow = True
    for _ in range(3):
        handle.press("ArrowRight")
        page.wait_for_timeout(700)
    line.release()
    expect(name_field(page)).to_have_value("p-step13")
    settled(page)
    save(page)
    assert open_when_saved(page, tiny, "p-step13").config.skew == "step:13"
