"""Where no browser is found, browser tests are skipped aloud; in CI that is a failure."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from studio import PlaywrightError, Server, open_browser, start_server

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

HELP = (
    "BROWSER TESTS SKIPPED: no Chromium found. Install one with "
    "`.venv/bin/playwright install chromium` (or, on Debian, `apt-get install chromium`)."
)

expect.set_options(timeout=20_000)  # ms: a busy machine draws slowly, and is not wrong for it


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            with open_browser(playwright) as found:
                yield found
        except PlaywrightError as error:
            if "Executable doesn't exist" not in str(error):
                raise
            if os.environ.get("REBALANCE_BROWSER") == "required":
                pytest.fail(HELP)
            pytest.skip(HELP)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def tiny(home: Path) -> Workspace:
    """The server's workspace with a tiny phantom `p`, 90 training and 30 test images."""
    workspace = Workspace(home)
    source = ImportConfig(name="p", source="phantom", count=120, size=32)
    import_dataset(workspace, source, MemoryRun())
    return workspace


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    started = start_server(home, tmp_path / "server.log")
    yield started
    started.stop()
    assert "Traceback" not in started.log.read_text(), started.log.read_text()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    context.close()
