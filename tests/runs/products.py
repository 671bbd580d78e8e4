"""What a run logged and made, such that two runs that did the same compare equal."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from rebalance_core.datasets.dataset import open_dataset, remove_dataset
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.synthesis.synthetic_set import remove_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.workspace import Workspace

# Times, and names that hold a run's id.
OF_ONE_RUN = ("seconds", "generator_seconds", "cell", "synthetic", "synthetic_sets")


def numbers(path: Path) -> list[dict[str, Any]]:
    """What was logged; times, starts and names that hold a run's id aside."""
    lines = [m for m in read_metrics(path) if m.get("event") != "start"]
    return [{k: v for k, v in m.items() if k not in ("time", "cell")} for m in lines]


def product(workspace: Workspace, view: RunView) -> Any:
    """What the run made, such that two runs that made the same compare equal."""
    if view.kind == "import":
        return open_dataset(workspace, view.config["name"]).fingerprint
    if view.kind == "poses":
        poses = workspace.datasets / view.config["dataset"] / "poses"
        return (poses / "assignments.csv").read_bytes()
    if view.kind == "weights":
        return _tensors(workspace.root / "weights" / f"{view.config['network']}.safetensors")
    if view.kind == "train":
        return _digests(view.path / "result" / "generator", "*")
    if view.kind in ("sample", "bring", "filter"):
        return _digests(workspace.synthetic / view.config["name"], "*.png")
    if view.kind == "score":
        return read_json(view.path / "result" / "scores.json")
    if view.kind == "classify":
        return view.result["predictions"]
    if view.kind in ("interpolate", "denoise"):
        return _digests(view.path / "result" / "frames", "*.png")
    if view.kind == "study":
        compared = workspace.runs / view.result["steps"]["compare"]
        return _timeless(read_json(compared / "result" / "results.json")["results"])
    return _timeless(read_json(view.path / "result" / "results.json")["results"])


def beneath(workspace: Workspace, view: RunView) -> list[Path]:
    """The runs that a run executed as its steps, in their order."""
    steps = view.result.get("steps", {}) if view.kind == "study" else {}
    return [workspace.runs / run for run in steps.values()]


def _digests(folder: Path, pattern: str) -> dict[str, str]:
    files = sorted(p for p in folder.rglob(pattern) if p.is_file())
    assert files
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _tensors(file: Path) -> dict[str, str]:
    """By their content: the order of a file's header is not told."""
    from safetensors.numpy import load_file

    found = load_file(file)
    return {name: hashlib.sha256(found[name].tobytes()).hexdigest() for name in sorted(found)}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in OF_ONE_RUN}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def make_room(workspace: Workspace, view: RunView) -> None:
    """Take away what the calm run made outside its directory, for the next of its name."""
    if view.kind == "import":
        remove_dataset(workspace, view.config["name"])
    if view.kind == "poses":  # else they need not be computed again
        shutil.rmtree(workspace.datasets / view.config["dataset"] / "features")
    if view.kind in ("sample", "bring", "filter"):
        remove_synthetic(workspace, view.config["name"])
    if view.kind in ("score", "filter"):
        shutil.rmtree(workspace.datasets / "phantom" / "scorers")
    if view.kind == "study":
        for run in beneath(workspace, view):
            make_room(workspace, view_run(run))
    if view.kind == "weights":
        shutil.rmtree(workspace.root / "weights")
