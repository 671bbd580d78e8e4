"""What a person chose or started is shown, whatever a slow line brings late."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect
from slow_line import Line
from studio import Server, settled

from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace


def test_an_address_from_before_does_not_undo_a_start_and_back_does(
    page: Page, server: Server, home: Path
) -> None:
    """A browser that has not yet heard of the new address still sends the old one."""
    workspace = Workspace(home)
    source = ImportConfig(name="first", source="phantom", count=120, size=32)
    import_dataset(workspace, source, MemoryRun())
    line = Line(page)
    page.goto(f"{server.url}/data?dataset=first")
    settled(page)
    page.get_by_text("Add a dataset").first.click()
    page.get_by_role("tab", name="Built-in").click()
    images = page.locator("input[aria-label='Images']")
    images.fill("120")
    images.press("Enter")
    settled(page)

    line.slow = True
    panel = page.get_by_role("tabpanel", name="Built-in")
    panel.get_by_role("button", name="Add", exact=True).click()
    while "phantom" not in list_datasets(workspace):
        page.wait_for_timeout(50)
    images.fill("130")
    images.press("Enter")
    page.wait_for_timeout(1000)  # for the server to draw the page with the address from before
    line.release()
    expect(page).to_have_url(re.compile("dataset=phantom"))
    expect(page.get_by_role("combobox", name="Dataset")).to_have_value("phantom")
    settled(page)

    page.go_back()
    expect(page).to_have_url(re.compile("dataset=first"))
    expect(page.get_by_role("combobox", name="Dataset")).to_have_value("first")
    images.fill("140")
    images.press("Enter")
    settled(page)
    expect(page).to_have_url(re.compile("dataset=first"))
