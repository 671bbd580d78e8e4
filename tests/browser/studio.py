"""A real server and a real browser, for tests and screenshots."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, expect
from playwright.sync_api import Error as PlaywrightError

from rebalance_core.doctor import find_chromium
from rebalance_core.workspace import HOME_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
START = 60  # seconds a server may take to answer


@dataclass
class Server:
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def start_server(home: Path, log: Path) -> Server:
    """The app on a free port of 127.0.0.1, with `home` as its workspace."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py",
        f"--server.port={port}", "--server.headless=true",
    ]  # fmt: skip
    environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": str(ROOT)}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    server = Server(f"http://127.0.0.1:{port}", log, process)
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"the app did not start:\n{log.read_text()}")


@contextmanager
def open_browser(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium found on this machine, or the one that playwright installed.

    Raises PlaywrightError where there is none.
    """
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
    try:
        yield browser
    finally:
        browser.close()


def settled(page: Page) -> None:
    """Wait until the script that draws the page has come to its end."""
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=30_000
    )


def visit(page: Page, name: str) -> None:
    """Click a page in the sidebar and wait until it is drawn."""
    links = page.get_by_test_id("stSidebarNav").get_by_role("link")
    links.filter(has_text=re.compile(f"{name}$")).click()
    heading = "Rebalance Studio" if name == "Home" else name
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible(timeout=20_000)
    settled(page)


__all__ = ["PlaywrightError", "Server", "open_browser", "settled", "start_server", "visit"]
