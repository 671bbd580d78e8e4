"""`make screenshots`: drives the real app through the whole way and photographs every page.

`python -m tests.browser.screenshots [--folder FOLDER] [--home WORKSPACE] [--empty]`: with a
workspace that has been through a study already, or (the default) one that this makes first.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from studio import ROOT, open_browser, settled, start_server, visit

PAGES = ["Home", "Data", "Poses", "Generators", "Samples", "Comparison", "Runs", "Settings"]
DRAWN = 2500  # ms that plots and pictures take to settle


def main(
    folder: Path = ROOT / "docs" / "screenshots",
    home: Annotated[Path | None, typer.Option(help="A workspace with work in it.")] = None,
    width: int = 1440,
    dark: bool = False,
    empty: bool = False,
) -> None:
    """Photograph every page into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        used = home or Path(temporary) / "home"
        if home is None and not empty:
            study(used)
        server = start_server(used, Path(temporary) / "server.log")
        try:
            with sync_playwright() as playwright, open_browser(playwright) as browser:
                photograph(browser, server.url, folder, width, dark)
        finally:
            server.stop()


def study(home: Path) -> None:
    command = [sys.executable, "-m", "rebalance_core", "study", "phantom", "--preset", "quick"]
    environment = {"REBALANCE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment})


def photograph(browser: Browser, url: str, folder: Path, width: int, dark: bool) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 1000}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.goto(url)
    for name in PAGES:
        visit(page, name)
        page.wait_for_timeout(DRAWN)
        _whole(page, width)
        page.screenshot(path=folder / f"{name.lower()}.png")
        page.set_viewport_size({"width": width, "height": 1000})
    context.close()


def _whole(page: Page, width: int) -> None:
    """Make the window as high as the page, since the app scrolls within itself."""
    settled(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": max(700, int(height))})
    page.wait_for_timeout(800)


if __name__ == "__main__":
    typer.run(main)
