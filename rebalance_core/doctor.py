"""Checks of the installation: versions, devices, memory, disk and what they imply."""

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
MIN_FREE_DISK = 5  # GiB
MIN_FREE_MEMORY = 4  # GiB
TIMEOUT = 120  # seconds to import torch on a busy machine
ROOT = Path(__file__).resolve().parents[1]


def quick_checks(workspace: Workspace) -> dict[str, Any]:
    """Facts that need no torch; `problems` contains one sentence per problem."""
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
    if free < MIN_FREE_DISK:
        problems.append(
            f"Only {free:.1f} GiB are free at {existing}; free some space before training."
        )
    if not os.access(existing, os.W_OK):
        problems.append(f"{existing} is not writable; set {HOME_VARIABLE} to a writable folder.")
    memory = read_memory()
    if memory.left / GIB < MIN_FREE_MEMORY:
        problems.append(
            f"Only {memory.left / GIB:.1f} GiB of memory are free; close other programs before "
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


def full_checks(workspace: Workspace) -> dict[str, Any]:
    """`quick_checks`, and whether torch works and on which device; `ok` if nothing is wrong."""
    facts = quick_checks(workspace)
    device = bf16 = threads = None
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
        from rebalance_core.training.device import create_accelerator, is_bf16_fast

        device, bf16 = str(create_accelerator("auto").device), is_bf16_fast()
        threads = torch.get_num_threads()
    except Exception as error:  # any failure of a third-party library is a finding
        facts["problems"].append(
            f"torch and torchvision do not work together ({type(error).__name__}: {error}); "
            "run `make setup` to install versions that do."
        )
    torch_facts = {"device": device, "fast_bf16": bf16, "threads": threads}
    return {"ok": not facts["problems"], **facts, **torch_facts}


def full_checks_in_subprocess(workspace: Workspace) -> dict[str, Any]:
    """`full_checks` in a subprocess, so that torch is not imported here.

    Raises UserError if the subprocess ends without a result.
    """
    command = [sys.executable, "-m", "rebalance_core", "doctor", "--json"]
    environment = {**os.environ, HOME_VARIABLE: str(workspace.root)}
    try:
        process = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
        facts: dict[str, Any] = json.loads(process.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise UserError(
            f"The check of torch returned no result ({type(error).__name__}); run "
            "`python -m rebalance_core doctor` to see why."
        ) from error
    return facts


def explain(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(setting, value, meaning) rows for the facts of `quick_checks` or `full_checks`."""
    has_several = len(facts["devices"]) > 1
    rows = [
        (
            "Devices",
            ", ".join(facts["devices"]),
            f"{'One job at a time on each' if has_several else 'One job at a time'}; others wait, "
            "oldest first. CUDA_VISIBLE_DEVICES selects among GPUs.",
        )
    ]
    if "device" in facts:
        precision = "bf16" if facts["fast_bf16"] else "fp32"
        rows += [
            (
                "torch device",
                str(facts["device"]),
                "cuda is a GPU, mps is Apple's; cpu is slow above 64 px: use `quick` or `small`.",
            ),
            (
                "Precision `auto`",
                precision,
                "bf16 is fast here and needs half the memory."
                if facts["fast_bf16"]
                else "bf16 would be slower here, so `auto` uses fp32.",
            ),
            (
                "Threads",
                str(facts["threads"]),
                "Used by one job on the CPU; OMP_NUM_THREADS sets the number. A second job at the "
                "same time slows down both.",
            ),
        ]
    weights = [name for name, is_available in facts["weights"].items() if is_available]
    interval = facts["checkpoint_seconds"]
    rows += [
        ("Cores", str(facts["cores"]), "An import decodes and inspects images on all of them."),
        (
            "Memory",
            f"{facts['memory_left_gib']} of {facts['memory_gib']} GiB free",
            "If it runs out, the system kills the job; a smaller batch_size needs less.",
        ),
        (
            "Workspace",
            facts["workspace"],
            f"Contains all data and runs; {HOME_VARIABLE} sets the folder. Nothing leaves this "
            "machine.",
        ),
        (
            "Free disk",
            f"{facts['free_gib']} GiB",
            f"At least {MIN_FREE_DISK} GiB are recommended. A full disk fails a run, which can be "
            "resumed once there is space.",
        ),
        (
            "Checkpoints",
            "invalid setting" if interval is None else f"every {interval:g} s",
            "The work that a kill loses at most; longer if writing is slow. "
            "REBALANCE_CHECKPOINT_SECONDS sets the interval.",
        ),
        (
            "Pretrained weights",
            ", ".join(weights) or "none",
            "Available to Poses, which uses HOG of the head without any. `poses weights` downloads "
            "them.",
        ),
        (
            "Versions",
            ", ".join(f"{k} {v or 'missing'}" for k, v in facts["versions"].items()),
            f"With Python {facts['python']} on {facts['platform']}. Other versions may round "
            "differently, so a resumed run is exact only with the same versions.",
        ),
    ]
    return rows


def find_chromium() -> str | None:
    """Path of the browser for the browser tests: $CHROMIUM, or one on the PATH."""
    path = os.environ.get("CHROMIUM")
    if path and Path(path).exists():
        return path
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)
