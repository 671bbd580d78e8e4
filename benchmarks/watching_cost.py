"""Claim: three who watch a live run cost its trainer at most 2 % more CPU seconds a step.

Three browser sessions look at a training on the Runs page. Ours: the trainer's CPU seconds a step
while they look. Theirs: the same without anybody looking. Five pairs of windows in turn, each
from one logged line to another, the first of a pair by turns. The training is made long enough by
a short one before it; some six minutes in all. The browsers run on the same cores, so their
drawing counts too. Guards: the ratio at most 1.02; the server takes at most 1 % of a core for each
session; what they look at moves.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from studio import Server, open_browser, settled, start_server

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import RunView, cancel, submit, view_run
from rebalance_core.runs.run import MemoryRun, read_metrics
from rebalance_core.workspace import HOME_VARIABLE, Workspace

PAIRS, SESSIONS = 5, 3
WINDOW = 25.0  # seconds at least
TRAINING = 900.0  # seconds that the training would take: all windows, and half as much again
TRIED = 100  # steps of the short one
PATIENCE = 120.0  # seconds for a line
MOST_SERVER, MOST_TRAINER = 0.01, 1.02  # of a core for each session; times the CPU seconds a step


class Moment(NamedTuple):
    """Just after a line was logged."""

    step: int
    trainer: float  # CPU seconds so far
    server: float
    clock: float


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def next_line(run: Path, server: Server, trainer: int) -> Moment:
    known, deadline = len(read_metrics(run)), time.monotonic() + PATIENCE
    while len(lines := read_metrics(run)) <= known:
        if time.monotonic() > deadline or not view_run(run).live:
            raise SystemExit(f"no line came: {view_run(run).state}")
        time.sleep(0.01)
    return Moment(lines[-1]["step"], cpu(trainer), cpu(server.process.pid), time.monotonic())


def window(run: Path, server: Server, trainer: int) -> tuple[float, float]:
    """(the trainer's CPU seconds a step, the server's share of a core) over some time."""
    first = last = next_line(run, server, trainer)
    while last.clock - first.clock < WINDOW:
        last = next_line(run, server, trainer)
    spent, steps = last.trainer - first.trainer, last.step - first.step
    return spent / steps, (last.server - first.server) / (last.clock - first.clock)


def told_step(page: Page) -> str:
    return page.locator("p", has_text="Last step").first.inner_text()


def train(workspace: Workspace, steps: int) -> RunView:
    """Of one class alone: some 300 lines over the run, as in every training."""
    config = TrainConfig.make(
        "ddpm", "phantom", "quick", steps=steps, batch_size=8, classes=("notumor",)
    )
    return submit(workspace, "train", config.model_dump(mode="json"), name=f"{steps} steps")


def seconds_a_step(workspace: Workspace) -> float:
    view = train(workspace, TRIED)
    while view_run(view.path).live:
        time.sleep(0.2)
    lines = [m for m in read_metrics(view.path) if m.get("event") != "start"]
    half = lines[len(lines) // 2 :]  # the first steps are slower
    return float((half[-1]["time"] - half[0]["time"]) / (half[-1]["step"] - half[0]["step"]))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Workspace(Path(folder) / "home")
        os.environ[HOME_VARIABLE] = str(workspace.root)
        source = ImportConfig(name="phantom", source="phantom", count=240, size=32)
        import_dataset(workspace, source, MemoryRun())
        view = train(workspace, int(TRAINING / seconds_a_step(workspace)))
        while not read_metrics(view.path) and view_run(view.path).live:
            time.sleep(0.1)
        trainer = view_run(view.path).state["pid"]
        server = start_server(workspace.root, Path(folder) / "server.log")
        ours, theirs, shares, moved = [], [], [], True
        try:
            with open_browser(playwright) as browser:
                pages = [
                    browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
                    for _ in range(SESSIONS)
                ]

                def alone() -> None:
                    for page in pages:
                        page.goto("about:blank")
                    time.sleep(2)
                    theirs.append(window(view.path, server, trainer)[0])

                def watched() -> None:
                    nonlocal moved
                    for page in pages:
                        page.goto(f"{server.url}/runs?run={view.id}")
                        settled(page)
                    time.sleep(3)
                    before = told_step(pages[-1])
                    step, share = window(view.path, server, trainer)
                    ours.append(step)
                    shares.append(share / SESSIONS)
                    moved = moved and told_step(pages[-1]) != before

                for pair in range(PAIRS):
                    for side in (alone, watched) if pair % 2 == 0 else (watched, alone):
                        side()
        finally:
            server.stop()
            if view_run(view.path).live:
                cancel(workspace, view.id)
            while view_run(view.path).live:
                time.sleep(0.2)
    ratio = statistics.median(o / t for o, t in zip(ours, theirs, strict=True))
    share = statistics.median(shares)
    print(json.dumps({
        "claim": "CPU seconds of a training step while three browser sessions watch it",
        "ours": round(statistics.median(ours), 4),
        "theirs": round(statistics.median(theirs), 4),
        "unit": "s",
        "ratio": round(ratio, 4),
        "target": MOST_TRAINER,
        "guards": {"server_share_of_a_core_for_each_session": round(share, 4), "it_moved": moved},
    }))  # fmt: skip
    return 0 if ratio <= MOST_TRAINER and share <= MOST_SERVER and moved else 1


if __name__ == "__main__":
    sys.exit(main())
