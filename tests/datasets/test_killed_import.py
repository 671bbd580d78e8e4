"""An import that is killed leaves nothing behind, neither on disk nor among the processes."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
from commands import process
from sources import leftovers, pack
from starting import submit

from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.phantom import draw_phantoms
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.executor import view_run
from rebalance_core.workspace import Workspace

PATIENCE = 60.0  # seconds, on a busy machine


def half_done(workspace: Workspace) -> bool:
    """True once originals have been written."""
    paths = list(workspace.datasets.glob(".*/originals"))
    return bool(paths) and paths[0].stat().st_size > 0


def test_a_killed_import_leaves_nothing_and_resumes(workspace: Workspace, tmp_path: Path) -> None:
    number = np.arange(2000)
    pictures = draw_phantoms(number % 4, number // 4 % 3, size=32)
    files = {f"{'abcd'[k % 4]}/{k:04d}.png": png_bytes(p) for k, p in enumerate(pictures)}
    config = ImportConfig(name="pets", source=str(pack(tmp_path / "pets.zip", files)))
    view = submit(workspace, "import", config.model_dump(), name="import pets")
    deadline = time.monotonic() + PATIENCE
    while not half_done(workspace):
        assert time.monotonic() < deadline, (view.path / "log.txt").read_text()
        time.sleep(0.005)
    worker = psutil.Process(view_run(view.path).state.pid)
    helpers = worker.children(recursive=True)
    assert helpers
    os.kill(worker.pid, signal.SIGKILL)
    assert len(leftovers(workspace)) == 1

    (run,) = json.loads(process(workspace.root, "runs", "list", "--json").stdout)["runs"]
    assert (run["status"], run["reason"]) == ("interrupted", "The process exited unexpectedly.")
    assert leftovers(workspace) == []
    assert psutil.wait_procs(helpers, timeout=10)[1] == []

    done = process(workspace.root, "runs", "resume", view.id, "--json")
    assert json.loads(done.stdout)["status"] == "done", done.stderr
    assert leftovers(workspace) == ["pets"]
    dataset = open_dataset(workspace, "pets")
    assert dataset.counts() == {"train": dict.fromkeys("abcd", 500)}
    assert dataset.read_original("d/1999.png") == files["d/1999.png"]
    assert "Traceback" not in (view.path / "log.txt").read_text()
