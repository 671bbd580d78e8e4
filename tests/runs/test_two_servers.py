"""Two processes, as two servers are, on one workspace; one is killed while its run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.runs.executor import cancel, list_runs, resume
from rebalance_core.runs.start import wait_for
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import sys, time
from pathlib import Path
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace
config = ImportConfig(name="p", source="phantom", count=int(sys.argv[2]), size=32)
print(start_run(Workspace(Path(sys.argv[1])), config).id, flush=True)
time.sleep(600)
"""


def start_server(workspace: Workspace, count: int) -> tuple["subprocess.Popen[str]", str]:
    """A process that starts an import and lives on; it, and the id of the run."""
    command = [sys.executable, "-c", SERVER, str(workspace.root), str(count)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


@pytest.mark.parametrize("action", ["watch", "cancel and resume"])
def test_a_run_outlives_its_server_and_another_takes_over(
    workspace: Workspace, action: str
) -> None:
    server, run_id = start_server(workspace, 200)
    try:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        (view,) = list_runs(workspace)  # this process is the other server
        assert view.id == run_id
        assert view.live
        if action == "cancel and resume":
            view = cancel(workspace, run_id)
            while view.live:
                time.sleep(0.05)
                (view,) = list_runs(workspace)
            assert view.status == "cancelled"
            view = resume(workspace, run_id)
        view = wait_for(view)
        assert (view.status, view.progress.fraction, view.progress.stage) == ("done", 1.0, "")
    finally:
        server.kill()
        server.wait()
    assert list_datasets(workspace) == ["p"]


def test_two_servers_that_create_one_dataset_end_with_one(workspace: Workspace) -> None:
    servers = [start_server(workspace, 60) for _ in range(2)]
    try:
        deadline = time.monotonic() + 90
        while any(view.live for view in list_runs(workspace)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for server, _ in servers:
            server.kill()
            server.wait()
    views = list_runs(workspace)
    # the later one is refused before it has a run, or its run fails
    assert {view.id for view in views} == {run_id for _, run_id in servers if run_id}
    assert sorted(view.status for view in views) in (["done"], ["done", "failed"])
    assert list_datasets(workspace) == ["p"]
    assert not list(workspace.datasets.glob(".p*"))
