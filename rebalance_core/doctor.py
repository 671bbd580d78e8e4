"""What the studio runs on here, whether it works, and what each of it means for the work."""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rebalance_core.errors import UserError
from rebalance_core.generators.spec import plugin_problems
from rebalance_core.poses.extractors import DOWNLOADS
from rebalance_core.poses.weights import has_weights
from rebalance_core.runs.devices import list_devices
from rebalance_core.runs.memory import GIB, read_memory
from rebalance_core.runs.run import checkpoint_every
from rebalance_core.workspace import HOME_VARIABLE, Workspace

PACKAGES = ("torch", "torchvision", "diffusers", "accelerate", "streamlit", "scikit-learn", "numpy")
ROOM_WANTED = 5  # GiB
MEMORY_WANTED = 4  # GiB
PATIENCE = 120  # seconds to import torch on a busy machine
ROOT = Path(__file__).resolve().parents[1]


def look(workspace: Workspace) -> dict[str, Any]:
    """What can be told at once, without torch: facts, and a sentence for each of `problems`."""
    problems = plugin_problems()
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
            problems.append(f"{package} is not installed; run `make setup`.")
    existing = workspace.nearest_existing
    free = shutil.disk_usage(existing).free / GIB
    if free < ROOM_WANTED:
        problems.append(f"Only {free:.1f} GiB are free at {existing}; make room before training.")
    if not os.access(existing, os.W_OK):
        problems.append(f"{existing} cannot be written; set {HOME_VARIABLE} to a folder that can.")
    memory = read_memory()
    if memory.left / GIB < MEMORY_WANTED:
        problems.append(
            f"Only {memory.left / GIB:.1f} GiB of memory are left; end other programs before "
            "training."
        )
    try:
        seconds: float | None = checkpoint_every()
    except UserError as error:
        seconds = None
        problems.append(str(error))
    return {
        "problems": problems,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory.total / GIB, 1),
        "memory_left_gib": round(memory.left / GIB, 1),
        "devices": [device.name for device in list_devices()],
        "checkpoint_seconds": seconds,
        "workspace": str(workspace.root),
        "free_gib": round(free, 1),
        "weights": {name: has_weights(workspace, name) for name in DOWNLOADS},
        "versions": versions,
        "chromium": find_chromium(),
    }


def examine(workspace: Workspace) -> dict[str, Any]:
    """The same, and whether torch works and what it computes on; `ok` if there is no problem."""
    facts = look(workspace)
    device = bf16 = threads = None
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
        from rebalance_core.training.device import create_accelerator, is_bf16_fast

        device, bf16 = str(create_accelerator("auto").device), is_bf16_fast()
        threads = torch.get_num_threads()
    except Exception as error:  # whatever breaks in a foreign library is the finding here
        facts["problems"].append(
            f"torch and torchvision do not work together ({type(error).__name__}: {error}); "
            "run `make setup` to install versions that do."
        )
    told = {"device": device, "fast_bf16": bf16, "threads": threads}
    return {"ok": not facts["problems"], **facts, **told}


def examine_apart(workspace: Workspace) -> dict[str, Any]:
    """`examine` in a process of its own, so that torch stays out of this one."""
    command = [sys.executable, "-m", "rebalance_core", "doctor", "--json"]
    environment = {**os.environ, HOME_VARIABLE: str(workspace.root)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise UserError(
            f"The check of torch gave no answer ({type(error).__name__}); run "
            "`python -m rebalance_core doctor` to see why."
        ) from error
    return found


def meanings(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(setting, its value here, what it means for the work), of what `look` or `examine` told."""
    several = len(facts["devices"]) > 1
    lines = [
        (
            "Devices",
            ", ".join(facts["devices"]),
            f"{'One job at a time on each' if several else 'One job at a time'}; others wait, "
            "oldest first. CUDA_VISIBLE_DEVICES chooses among GPUs.",
        )
    ]
    if "device" in facts:
        precision = "bf16" if facts["fast_bf16"] else "fp32"
        lines += [
            (
                "torch computes on",
                str(facts["device"]),
                "cuda is a GPU, mps Apple's; cpu is slow "
                "beyond 64 px, where `quick` and `small` are what can be afforded.",
            ),
            (
                "Precision `auto`",
                precision,
                "bf16 is fast here and takes half the memory."
                if facts["fast_bf16"]
                else "bf16 would be slower here, so `auto` computes in fp32.",
            ),
            (
                "Threads",
                str(facts["threads"]),
                "Of one job on the processor; OMP_NUM_THREADS "
                "sets another number. A second job beside it slows both.",
            ),
        ]
    here = [name for name, there in facts["weights"].items() if there]
    every = facts["checkpoint_seconds"]
    lines += [
        ("Cores", str(facts["cores"]), "They decode and inspect images side by side in an import."),
        (
            "Memory",
            f"{facts['memory_left_gib']} of {facts['memory_gib']} GiB left",
            "If it runs out, the system ends the job; a smaller batch_size needs less.",
        ),
        (
            "Workspace",
            facts["workspace"],
            f"All data and runs are there; {HOME_VARIABLE} names "
            "another. Nothing leaves this machine.",
        ),
        (
            "Free disk",
            f"{facts['free_gib']} GiB",
            f"At least {ROOM_WANTED} GiB are wanted. A full "
            "disk fails a run, which resumes once there is room.",
        ),
        (
            "Checkpoints",
            "a wrong setting" if every is None else f"every {every:g} s",
            "What a kill costs at most, and rarer where writing is slow; "
            "REBALANCE_CHECKPOINT_SECONDS sets it.",
        ),
        (
            "Pretrained weights",
            ", ".join(here) or "none",
            "Poses can use these networks; without "
            "any, HOG of the head. `poses weights` fetches them.",
        ),
        (
            "Versions",
            ", ".join(f"{k} {v or 'missing'}" for k, v in facts["versions"].items()),
            f"With Python {facts['python']} on {facts['platform']}; another version may round "
            "differently, so a resumed run is exact only with the same.",
        ),
    ]
    return lines


def find_chromium() -> str | None:
    """A browser for the browser tests: $CHROMIUM, or one on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named and Path(named).exists():
        return named
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for n in names if (found := shutil.which(n))), None)
