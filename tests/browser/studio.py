"""A real server and a real browser, for tests and screenshots."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Locator, Page, Playwright, expect
from playwright.sync_api import Error as PlaywrightError

from rebalance_core.doctor import find_chromium
from rebalance_core.runs.executor import list_runs, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.workspace import HOME_VARIABLE, Workspace

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = 60  # seconds a server may take to answer
LONG = 240_000  # ms a tiny training may take here


@dataclass
class Server:
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def start_server(
    home: Path, log: Path, script: str = "app.py", python_path: str = str(ROOT)
) -> Server:
    """Start the app on a free port of 127.0.0.1, with `home` as its workspace."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        script,
        f"--server.port={port}",
        "--server.headless=true",
    ]
    environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": python_path}
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


def unfold(page: Page, title: str) -> Locator:
    """Open an expander and wait until it stands still: a button that moves between the mouse's
    going down and its coming up is not clicked."""
    box = page.get_by_test_id("stExpander").filter(has_text=title)
    box.get_by_text(title).click()
    expect(box.locator("details")).to_have_attribute("open", "")
    box.evaluate(
        "box => Promise.allSettled(box.getAnimations({subtree: true}).map(a => a.finished))"
    )
    return box


def until(done: Callable[[], Any], what: Callable[[], object]) -> None:
    """Ask again until it is so, for what no locator can wait for."""
    deadline = time.monotonic() + LONG / 1000
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def visit(page: Page, name: str) -> None:
    """Click a page in the sidebar and wait until it is drawn."""
    links = page.get_by_test_id("stSidebarNav").get_by_role("link")
    links.filter(has_text=re.compile(f"{name}$")).click()
    heading = "Rebalance Studio" if name == "Home" else name
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible(timeout=20_000)
    settled(page)


def last_step(page: Page) -> int:
    text = page.get_by_text(re.compile(r"^Last step \d+$")).first.inner_text()
    return int(text.split()[-1])


def watch_step_grow(page: Page) -> None:
    """The last step's number grows without a reload."""
    before = last_step(page)
    page.wait_for_function(
        """before => [...document.querySelectorAll('p')].some(p => {
            const found = p.innerText.match(/^Last step (\\d+)$/);
            return found && Number(found[1]) > before;
        })""",
        arg=before,
        timeout=LONG,
    )


def begun(workspace: Workspace, kind: str) -> Path:
    """The newest run of a kind, as soon as there is one."""
    until(lambda: list_runs(workspace, kind), lambda: f"no {kind} has begun")
    return list_runs(workspace, kind)[0].path


@contextmanager
def held_at(run: Path, moment: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Stop a run's process once its last line of metrics is so far, so that it does not end while
    something on the page is waited for; afterwards it goes on."""
    until(lambda: any(map(moment, read_metrics(run)[-1:])), lambda: read_metrics(run)[-1:])
    process = psutil.Process(view_run(run).state.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    expect(field).to_have_count(1)  # not that of the form before, too
    field.fill(value)
    field.press("Enter")
    settled(page)


def fill_training(page: Page, **values: int) -> None:
    """Fill in fields of the Generators page: `fill_training(page, batch_size=8)`."""
    for field, value in values.items():
        fill(page, field.replace("_", " "), str(value))


def train_quick(page: Page, kind: str = "BAGAN-GP", **values: int) -> None:
    """Choose a generator by its title, fill in its fields and press Train."""
    page.get_by_text(kind, exact=True).click()
    settled(page)
    fill_training(page, **values)
    page.get_by_role("button", name="Train", exact=True).click()


def status(page: Page, word: str) -> None:
    """The run on the page has this status; its badge's icon is a word of text before it."""
    badge = page.get_by_text(re.compile(rf"(^|\s){word}$")).first
    expect(badge).to_be_visible(timeout=LONG)
    settled(page)


__all__ = [
    "PlaywrightError",
    "Server",
    "begun",
    "fill",
    "held_at",
    "last_step",
    "open_browser",
    "settled",
    "start_server",
    "status",
    "unfold",
    "until",
    "visit",
    "watch_step_grow",
]
