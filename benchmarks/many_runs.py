"""Claim: the Runs page renders in under a second with 500 finished runs of 5,000 metric lines each.

Ours: from the click in the sidebar to the settled page, in a real browser. Theirs: only reading
every line of every run, as a page without cached summaries would. Five interleaved pairs.
Guards: every rendering of ours takes less than 1 s, the first on a fresh server too; all 500 runs
are listed.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from studio import open_browser, settled, start_server, visit

from benchmarks._report import Guard, medians, report
from rebalance_core.runs.directory import create_run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

RUNS, LINES, PAIRS = 500, 5000, 5
LIMIT = 1.0  # seconds


def create_runs(workspace: Workspace) -> None:
    """Finished trainings, each with a checkpoint, a preview and its metrics."""
    metrics = "".join(
        json.dumps({"step": step, "generator_loss": 1 / step, "time": 1.7e9 + step}) + "\n"
        for step in range(1, LINES + 1)
    )
    for number in range(RUNS):
        config = {"set": "pets", "generator": "ddpm", "training": {"lr": number / RUNS}}
        path = create_run(workspace, "train", config, name=f"ddpm on pets, {number}")
        state = read_json(path / "state.json")
        write_json(path / "state.json", {**state, "status": "done", "started": 0.0, "finished": 9})
        (path / "metrics.jsonl").write_text(metrics)
        for name in ("log.txt", "checkpoints/000001.pt", "previews/x-0000001.txt"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text("x" * 1000)


def render(page: Page) -> tuple[float, float]:
    """Seconds from the click on Runs until the page's script has ended and all texts are visible,
    and until the selected run's curves are visible.

    The browser loads a library of 5 MB for the first curves.
    """
    visit(page, "Settings")
    page.wait_for_timeout(500)
    link = page.get_by_test_id("stSidebarNav").get_by_role("link").filter(has_text="Runs")
    start = time.perf_counter()
    link.click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    page.get_by_text("Disk: runs use").wait_for()
    settled(page)
    seconds = time.perf_counter() - start
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    return seconds, time.perf_counter() - start


def read_all(workspace: Workspace) -> float:
    start = time.perf_counter()
    lines = sum(
        1
        for path in workspace.runs.glob("[!.]*")
        for line in (path / "metrics.jsonl").read_bytes().splitlines()
        if json.loads(line)
    )
    assert lines == RUNS * LINES
    return time.perf_counter() - start


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Workspace(Path(folder) / "home")
        create_runs(workspace)
        server = start_server(workspace.root, Path(folder) / "server.log")
        ours, theirs, curves = [], [], []
        try:
            with open_browser(playwright) as browser:
                page = browser.new_page(viewport={"width": 1440, "height": 1000})
                page.goto(server.url)
                settled(page)
                for _ in range(PAIRS):
                    seconds, with_curves = render(page)
                    ours.append(seconds)
                    curves.append(with_curves)
                    theirs.append(read_all(workspace))
                expect(page.get_by_text(f"all {RUNS}")).to_be_visible()
        finally:
            server.stop()
    return report(
        claim="seconds until the Runs page shows 500 runs of 5,000 metric lines",
        **medians(ours, theirs, digits=3),
        unit="s",
        target=LIMIT,
        guards={
            "first_draw": round(ours[0], 3),
            "slowest_draw": Guard(round(max(ours), 3), max(ours) < LIMIT),
            "listed": RUNS,
            "first_with_curves": round(curves[0], 3),
            "with_curves": round(statistics.median(curves), 3),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
