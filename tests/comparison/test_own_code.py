"""A network that is code is imported only if a person names it, never because a file does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT
from streamlit.testing.v1 import AppTest

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.job import check_network
from rebalance_core.comparison.timing import timing_config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.devices import list_devices
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.locks import device_lock
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.study import StudyConfig
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

CANARY = "import pathlib\npathlib.Path(__file__).with_name('touched').touch()\nnet = print\n"
HOSTILE = ["os:_exit", "os:system", "canary:net"]
CLASSIFIER = {"size": 16, "epochs": 2, "lr": 0.01, "batch_size": 16, "precision": "fp32"}
PATIENCE = 120.0  # seconds, on a busy machine
NAMED = (
    "names the network {!r}, which is code and never imported merely because a file names it; if "
    "you trust it, {} and repeat the name: --set network=module:function."
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Must never come into being; importing the module `canary` would make it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "canary.py").write_text(CANARY)
    return tmp_path / "code" / "touched"


@pytest.fixture
def run_python(workspace: Workspace, canary: Path) -> Callable[..., Any]:
    """`python -m …` in a process that finds `nets` and `canary`."""
    path = os.pathsep.join(map(str, (ROOT, Path(__file__).parent, canary.parent)))

    def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


def config_of(network: str, **classifier: Any) -> CompareConfig:
    values = {**CLASSIFIER, "network": network, **classifier}
    return CompareConfig.from_preset(
        "quick", set="phantom", arms=("none",), schedules=("always",), classifier=values
    )


def hand_made(workspace: Workspace, network: str, kind: str = "compare") -> Path:
    """A resumable run written into the workspace by hand."""
    config = config_of(network)
    made = timing_config(workspace, config) if kind == "timing" else config
    path = create_run(workspace, kind, made.model_dump(mode="json"), name="hostile")
    set_status(path, "interrupted")
    return path


def set_status(path: Path, status: str) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": status})


def report_of(workspace: Workspace, phantom: Dataset, file: Path, network: str) -> Path:
    """A comparison's report that names the given network."""
    file.write_text(
        json.dumps(
            {
                "config": config_of(network).model_dump(mode="json"),
                "fingerprint": phantom.fingerprint,
                "training_set": open_set(workspace, "phantom").config.model_dump(mode="json"),
            }
        )
    )
    return file


def wait(path: Path, until: Callable[[RunView], bool]) -> RunView:
    deadline = time.monotonic() + PATIENCE
    while not until(view := view_run(path)):
        assert time.monotonic() < deadline, (view.state, (path / "log.txt").read_text())
        time.sleep(0.05)
    return view


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on stderr with which a command is refused."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


def on_command_line(run_id: str) -> str:
    return f"resume the run on the command line (`runs resume {run_id}`)"


@pytest.mark.parametrize("network", HOSTILE)
@pytest.mark.parametrize("options", [(), ("--estimate",)])
def test_a_report_that_names_code_is_refused(
    workspace: Workspace,
    phantom: Dataset,
    tmp_path: Path,
    canary: Path,
    run_python: Callable[..., Any],
    network: str,
    options: tuple[str, ...],
) -> None:
    report = report_of(workspace, phantom, tmp_path / "it.json", network)
    done = run_python("rebalance_core", "compare", "--from", report, *options, "--json")
    assert refusal(done) == f"Report it.json {NAMED.format(network, 'run this command again')}"
    assert list_runs(workspace) == []
    assert not canary.exists()
    # nor is the report's training set created
    written = json.loads(report.read_text())
    report.write_text(json.dumps({**written, "config": {**written["config"], "set": "fresh"}}))
    assert refusal(run_python("rebalance_core", "compare", "--from", report, "--json"))
    assert not (workspace.sets / "fresh.json").exists()


def test_a_report_runs_again_once_its_network_is_typed(
    workspace: Workspace, phantom: Dataset, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    report = report_of(workspace, phantom, tmp_path / "it.json", "nets:tiny")
    again = ("rebalance_core", "compare", "--from", report, "--json", "--set")
    assert refusal(run_python(*again, "network=canary:net")) == (
        "Report it.json has the network 'nets:tiny', not 'canary:net'; name the same one."
    )
    assert refusal(run_python(*again, "lr=0.5")) == (
        "Only network=module:function can be set here; everything else stays as it was."
    )
    done = run_python(*again, "network=nets:tiny")
    assert done.returncode == 0, done.stderr
    (view,) = list_runs(workspace)
    assert (view.status, view.config["classifier"]["network"]) == ("done", "nets:tiny")
    estimated = run_python(*again, "network=nets:tiny", "--estimate")
    assert json.loads(estimated.stdout)["classifiers"] == 1


@pytest.mark.parametrize("network", HOSTILE)
@pytest.mark.parametrize("kind", ["compare", "timing"])
def test_a_hand_made_run_that_names_code_is_not_resumed(
    workspace: Workspace,
    phantom: Dataset,
    canary: Path,
    run_python: Callable[..., Any],
    network: str,
    kind: str,
) -> None:
    path = hand_made(workspace, network, kind)
    message = f"Run {path.name} {NAMED.format(network, on_command_line(path.name))}"
    assert refusal(run_python("rebalance_core", "runs", "resume", path.name)) == message
    assert view_run(path).status == "interrupted"
    # The worker itself, started on the run without a name or with another.
    for named in ([], ["nets:tiny"]):
        set_status(path, "queued")
        assert run_python("rebalance_core.runs.worker", path, *named).returncode == 1
        view = view_run(path)
        assert view.status == "failed"
        assert view.state.reason == (
            f"Run {path.name} has the network {network!r}, not 'nets:tiny'; name the same one."
            if named
            else message
        )
    assert not canary.exists()


def test_a_study_whose_steps_name_a_hand_made_comparison_does_not_import_its_network(
    workspace: Workspace, phantom: Dataset, canary: Path, run_python: Callable[..., Any]
) -> None:
    config = StudyConfig(dataset="phantom", arms=("none",))
    study = create_run(workspace, "study", config.model_dump(mode="json"), name="study")
    child = hand_made(workspace, "canary:net")
    write_json(study / "steps.json", {"runs": {"compare": child.name}, "names": {}})
    assert run_python("rebalance_core.runs.worker", study).returncode == 1
    message = f"Run {child.name} {NAMED.format('canary:net', on_command_line(child.name))}"
    assert [view_run(p).state.reason for p in (study, child)] == [message, message]
    assert not canary.exists()


def test_a_network_of_ones_own_runs_and_is_resumed_when_its_name_is_repeated(
    workspace: Workspace, phantom: Dataset, run_python: Callable[..., Any]
) -> None:
    fields = {**CLASSIFIER, "network": "nets:tiny", "epochs": 40}
    typed = [word for k, v in fields.items() for word in ("--set", f"{k}={v}")]
    with device_lock(workspace.runs, list_devices()[0]):  # so that it has to wait for its turn
        started = run_python(
            "rebalance_core", "compare", "phantom", "--arms", "none", *typed, "--detach", "--json"
        )
        assert started.returncode == 0, started.stderr
        (view,) = list_runs(workspace)
        wait(view.path, lambda v: v.progress.stage.startswith("waiting for "))
    wait(view.path, lambda v: len(read_metrics(v.path)) > 1)
    os.killpg(view_run(view.path).state.pid, signal.SIGKILL)
    wait(view.path, lambda v: not v.live)
    resume = ("rebalance_core", "runs", "resume", view.id, "--json")
    message = f"Run {view.id} {NAMED.format('nets:tiny', on_command_line(view.id))}"
    assert refusal(run_python(*resume)) == message
    assert refusal(run_python(*resume, "--set", "network=nets:fourth_broken")) == (
        f"Run {view.id} has the network 'nets:tiny', not 'nets:fourth_broken'; name the same one."
    )
    assert refusal(run_python(*resume, "--set", "epochs=1")) == (
        "Only network=module:function can be set here; everything else stays as it was."
    )
    assert view_run(view.path).status == "interrupted"
    done = run_python(*resume, "--set", "network=nets:tiny")
    assert json.loads(done.stdout)["status"] == "done", done.stderr


def test_a_network_by_torchvisions_name_is_resumed_without_it(
    workspace: Workspace, phantom: Dataset, run_python: Callable[..., Any]
) -> None:
    path = hand_made(workspace, "resnet18")
    resume = ("rebalance_core", "runs", "resume", path.name, "--json")
    assert refusal(run_python(*resume, "--set", "network=nets:tiny")) == (
        f"Run {path.name} has the network 'resnet18', not 'nets:tiny'; name the same one."
    )
    assert json.loads(run_python(*resume).stdout)["status"] == "done"


def test_the_page_says_to_resume_on_the_command_line(
    workspace: Workspace, phantom: Dataset
) -> None:
    path = hand_made(workspace, "nets:tiny")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/runs.py").run()
    app.button(key=f"resume {path.name}").click().run()
    (error,) = app.error
    assert error.value.replace("\\", "") == (
        f"Run {path.name} {NAMED.format('nets:tiny', on_command_line(path.name))}"
    )
    assert view_run(path).status == "interrupted"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("nets:raises_without_message", "RuntimeError"),
        ("nets:raises_below_an_empty_line", "there is no such layer"),
        ("nets:no_network", "nets:no_network returns a str, not a torch.nn.Module"),
    ],
)
def test_whatever_a_network_raises_is_reported_in_one_sentence(network: str, reason: str) -> None:
    with pytest.raises(UserError) as excinfo:
        check_network(ClassifierConfig(network=network), classes=2)
    assert str(excinfo.value) == (
        f"The network {network!r} cannot be used ({reason}); name one of torchvision's "
        "classifiers, or module:function on the command line."
    )
