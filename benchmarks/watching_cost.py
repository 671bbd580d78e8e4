"""Claim: three sessions that watch an active run cost its trainer at most 2 % more CPU per step.

Ours: the trainer's CPU seconds per step while three sessions watch it on the Runs page. Their
browsers are remote, as if the training were on a server: three connections send a browser's
requests, at the intervals that the page sets, and receive the responses. Theirs: the same without
sessions. Also reported: three browsers on the trainer's own cores, whose rendering competes with
it. Each round measures one window per condition, each from one logged line to another, in rotating
order. A short training first determines how many steps the long one needs; about 20 minutes in all.
Single windows vary by a tenth, so the medians are compared, with a 95 % bootstrap interval over the
rounds. Guards: the ratio is at most 1.02; the server uses at most 1 % of a core per session,
wherever the browsers are; the page that the sessions watch changes.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from playwright.sync_api import Browser, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from studio import Server, open_browser, settled, start_server

from benchmarks._report import Guard, report
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.executor import RunView, cancel, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import MemoryRun
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import HOME_VARIABLE, Workspace

ROUNDS, SESSIONS = 8, 3
WINDOW = 32.0  # minimum seconds, in which each part of the page is rendered at least once
SETTLE = 8.0  # seconds before the window, since opening a page is not watching it
TRAINING = 1800.0  # seconds of the long training: all windows, and half as much again
TRIAL_STEPS = 100  # of the short training
TIMEOUT = 120.0  # seconds for a logged line, or for a session to end
MAX_SERVER, MAX_TRAINER = 0.01, 1.02  # share of a core per session; ratio of CPU seconds per step

View = Callable[[], object]  # the text that each session shows now


class Moment(NamedTuple):
    """Counters just after a line was logged."""

    step: int
    trainer: float  # CPU seconds
    server: float  # CPU seconds
    clock: float  # seconds


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def next_line(run: Path, server: Server, trainer: int) -> Moment:
    count, deadline = len(read_metrics(run)), time.monotonic() + TIMEOUT
    while len(lines := read_metrics(run)) <= count:
        if time.monotonic() > deadline or not view_run(run).live:
            raise SystemExit(f"no line was logged: {view_run(run).state}")
        time.sleep(0.05)
    return Moment(lines[-1]["step"], cpu(trainer), cpu(server.process.pid), time.monotonic())


def window(run: Path, server: Server, trainer: int) -> tuple[float, float]:
    """(CPU seconds of the trainer per step, the server's share of a core) over one window."""
    first = last = next_line(run, server, trainer)
    while last.clock - first.clock < WINDOW:
        last = next_line(run, server, trainer)
    spent, steps = last.trainer - first.trainer, last.step - first.step
    return spent / steps, (last.server - first.server) / (last.clock - first.clock)


class Session(threading.Thread):
    """A remote browser: requests the page, then each of its fragments at the page's intervals."""

    def __init__(self, server: Server, run: str) -> None:
        super().__init__(daemon=True)
        self.address = server.url.replace("http", "ws", 1) + "/_stcore/stream"
        self.query = f"run={run}"
        self.closed = threading.Event()
        self.text = ""  # the page's text with the last step
        self._page = ""
        self._due: dict[str, tuple[float, float]] = {}  # {fragment: (interval, time of the next)}

    def run(self) -> None:
        with connect(
            self.address, subprotocols=[Subprotocol("streamlit")], max_size=None
        ) as socket:
            self._request(socket)
            while not self.closed.is_set():
                upcoming = min((due for _, due in self._due.values()), default=time.monotonic() + 1)
                try:
                    self._receive(socket.recv(timeout=max(0.0, upcoming - time.monotonic())))
                except TimeoutError:
                    self._poll(socket)
                except ConnectionClosed:
                    return

    def _request(self, socket: ClientConnection, fragment: str = "") -> None:
        message = BackMsg()
        rerun = message.rerun_script
        rerun.query_string, rerun.page_name, rerun.page_script_hash = self.query, "runs", self._page
        rerun.fragment_id, rerun.is_auto_rerun = fragment, bool(fragment)
        socket.send(message.SerializeToString())

    def _poll(self, socket: ClientConnection) -> None:
        for fragment, (interval, due) in self._due.items():
            if due <= time.monotonic():
                self._due[fragment] = (interval, due + interval)
                self._request(socket, fragment)

    def _receive(self, data: str | bytes) -> None:
        assert isinstance(data, bytes)
        message = ForwardMsg.FromString(data)
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._page = message.new_session.page_script_hash
            if not message.metadata.run.fragment_ids:
                self._due.clear()
        elif kind == "auto_rerun":
            interval = message.auto_rerun.interval
            self._due[message.auto_rerun.fragment_id] = (interval, time.monotonic() + interval)
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self._due.pop(fragment, None)
        elif (text := message.delta.new_element.markdown.body).startswith("Last step"):
            self.text = text


@contextmanager
def remote_browsers(server: Server, run: str) -> Iterator[View]:
    """Sessions whose browsers are on other machines."""
    sessions = [Session(server, run) for _ in range(SESSIONS)]
    for session in sessions:
        session.start()
    yield lambda: [session.text for session in sessions]
    for session in sessions:
        session.closed.set()
        session.join(timeout=TIMEOUT)


@contextmanager
def local_browsers(browser: Browser, server: Server, run: str) -> Iterator[View]:
    """Sessions in browsers on this machine."""
    with ExitStack() as stack:
        pages = []
        for _ in range(SESSIONS):
            context = browser.new_context(viewport={"width": 1440, "height": 1000})
            stack.callback(context.close)
            pages.append(context.new_page())
            pages[-1].goto(f"{server.url}/runs?run={run}")
            settled(pages[-1])
        yield lambda: [p.locator("p", has_text="Last step").first.inner_text() for p in pages]


def train(workspace: Workspace, steps: int) -> RunView:
    """Start a DDPM of a single class: about 300 logged lines, as in every training."""
    config = TrainConfig.make(
        "ddpm", "phantom", "quick", steps=steps, batch_size=8, classes=("notumor",)
    )
    return start_run(workspace, config)


def seconds_per_step(workspace: Workspace) -> float:
    view = train(workspace, TRIAL_STEPS)
    while view_run(view.path).live:
        time.sleep(0.2)
    lines = [m for m in read_metrics(view.path) if "loss notumor" in m]
    seconds = [(b["time"] - a["time"]) / (b["step"] - a["step"]) for a, b in pairwise(lines)]
    return float(statistics.median(seconds))  # the mean includes validations, many in a short run


def ratio_of_medians(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(ours) / statistics.median(theirs)


def interval(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio, over rounds."""
    rows = np.random.default_rng(0).integers(len(ours), size=(10_000, len(ours)))
    ratios = np.median(np.array(ours)[rows], axis=1) / np.median(np.array(theirs)[rows], axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return round(float(low), 3), round(float(high), 3)


def main() -> int:
    sides = ("nobody", "elsewhere", "here")
    steps: dict[str, list[float]] = {side: [] for side in sides}
    shares: dict[str, list[float]] = {side: [] for side in sides}
    has_changed = True
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        workspace = Workspace(Path(folder) / "home")
        os.environ[HOME_VARIABLE] = str(workspace.root)
        source = ImportConfig(name="phantom", source="phantom", count=240, size=32)
        import_dataset(workspace, source, MemoryRun())
        view = train(workspace, int(TRAINING / seconds_per_step(workspace)))
        while not read_metrics(view.path) and view_run(view.path).live:
            time.sleep(0.1)
        trainer = view_run(view.path).state.pid or 0
        server = start_server(workspace.root, Path(folder) / "server.log")
        try:
            with open_browser(playwright) as browser:
                sessions: dict[str, Callable[[], AbstractContextManager[View | None]]] = {
                    "nobody": nullcontext,
                    "elsewhere": lambda: remote_browsers(server, view.id),
                    "here": lambda: local_browsers(browser, server, view.id),
                }
                for number in range(ROUNDS):
                    for place in range(len(sides)):
                        side = sides[(number + place) % len(sides)]
                        with sessions[side]() as texts:
                            time.sleep(SETTLE)
                            before = texts() if texts else None
                            step, share = window(view.path, server, trainer)
                            has_changed = has_changed and (texts is None or texts() != before)
                        steps[side].append(step)
                        shares[side].append(share / SESSIONS)
                        print(side, f"{step:.5f} {share:.5f}", file=sys.stderr, flush=True)
        finally:
            server.stop()
            if view_run(view.path).live:
                cancel(workspace, view.id)
            while view_run(view.path).live:
                time.sleep(0.2)
    ratios = {side: ratio_of_medians(steps[side], steps["nobody"]) for side in sides[1:]}
    intervals = {side: interval(steps[side], steps["nobody"]) for side in sides[1:]}
    server_shares = {side: statistics.median(shares[side]) for side in sides[1:]}
    return report(
        claim="CPU seconds of a training step while three sessions watch it",
        ours=round(statistics.median(steps["elsewhere"]), 4),
        theirs=round(statistics.median(steps["nobody"]), 4),
        unit="s",
        ratio=round(ratios["elsewhere"], 4),
        target=MAX_TRAINER,
        target_met=ratios["elsewhere"] <= MAX_TRAINER,
        guards={
            "interval": intervals["elsewhere"],
            "ratio_with_browsers_here": round(ratios["here"], 4),
            "interval_with_browsers_here": intervals["here"],
            "server_share_of_a_core_for_each_session": Guard(
                {side: round(share, 4) for side, share in server_shares.items()},
                max(server_shares.values()) <= MAX_SERVER,
            ),
            "it_moved": has_changed,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
