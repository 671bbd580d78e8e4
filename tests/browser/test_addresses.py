"""Every page by its address right after a server start: right page and sidebar, no dialog."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from studio import settled, start_server

ADDRESSES = {
    "": "Rebalance Studio",
    "data": "Data",
    "poses": "Poses",
    "generators": "Generators",
    "samples": "Samples",
    "comparison": "Comparison",
    "runs": "Runs",
    "settings": "Settings",
}
SIDEBAR = ["Home", "Data", "Poses", "Generators", "Samples", "Comparison", "Runs", "Settings"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_page_by_its_address_right_after_a_server_start(
    address: str, page: Page, home: Path, tmp_path: Path
) -> None:
    server = start_server(home, tmp_path / "server.log")
    try:
        page.goto(f"{server.url}/{address}")
        heading = page.get_by_role("heading", name=ADDRESSES[address], exact=True)
        expect(heading).to_be_visible(timeout=20_000)
        settled(page)
        links = page.get_by_test_id("stSidebarNav").get_by_role("link")
        expect(links).to_have_text([re.compile(f"{name}$") for name in SIDEBAR])
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page.get_by_text("not for diagnosis")).to_be_visible()
        assert "Rebalance Studio" in page.title() or ADDRESSES[address] in page.title()
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()
