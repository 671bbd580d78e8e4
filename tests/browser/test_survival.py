"""Every kind of run under fire: workers and servers killed with -9 at random moments.

Some are resumed by the button on the Runs page, whose server is killed just then.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Browser
from studio import LONG, start_server

sys.path.append(str(Path(__file__).parents[1] / "runs"))
from fire import CASES, Watch, again, check

from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.run import CHECKPOINT_VARIABLE
from rebalance_core.workspace import Workspace

SERVERS = 2  # killed for each kind of run


class App:
    """Resumes runs as a person does in the app; each of its servers is killed soon after."""

    def __init__(self, browser: Browser, log: Path, random: Random) -> None:
        self.browser, self.log, self.random = browser, log, random
        self.left = 0  # servers to kill
        self.killed = 0

    def again(self, workspace: Workspace, view: RunView) -> None:
        if not self.left:
            again(workspace, view)
            return
        server = start_server(workspace.root, self.log)
        page = self.browser.new_page()
        page.goto(f"{server.url}/runs?run={view.id}", timeout=LONG)
        page.get_by_role("button", name="Resume").click(timeout=LONG)
        time.sleep(self.random.uniform(0, 1.5))
        before = view_run(view.path)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        page.close()
        self.left -= 1
        self.killed += 1
        after = view_run(view.path)
        if before.live and before.state.pid:  # it lives on, whoever started it is gone
            assert after.state.pid == before.state.pid
            assert after.live or after.status == "done"
        if after.status == "interrupted":  # the server was gone before it could
            again(workspace, view)


@pytest.fixture
def app(browser: Browser, tmp_path: Path) -> Iterator[App]:
    log = tmp_path / "server.log"
    yield App(browser, log, Random(6))
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_every_kind_of_run_survives(
    workspace: Workspace, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "0")  # tiny runs are over before one would be due
    made: dict[str, RunView] = {}
    workers: Counter[str] = Counter()
    servers: Counter[str] = Counter()
    with Watch(workspace) as watch:
        for number, (name, case) in enumerate(CASES.items()):
            app.left, before, began = SERVERS, app.killed, time.monotonic()
            made[name] = check(
                workspace,
                case.kind,
                case.config(made, tmp_path),
                Random(number),
                case.kills,
                case.longest,
                start=case.start,
                again=app.again,
            )
            workers[name], servers[name] = case.kills, app.killed - before
            took = time.monotonic() - began
            print(f"{name}: {workers[name]} workers, {servers[name]} servers, {took:.0f} s")
    print(f"{workers.total()} workers and {servers.total()} servers killed, {watch.looks} looks")
    assert workers == {name: case.kills for name, case in CASES.items()}
    assert servers == dict.fromkeys(CASES, SERVERS)
    assert workers.total() >= 60
    assert watch.looks > 100
