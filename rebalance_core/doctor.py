"""What the studio runs on here, and whether it works."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rebalance_core.workspace import Workspace

PACKAGES = ("torch", "torchvision", "diffusers", "accelerate", "streamlit", "scikit-learn", "numpy")
ROOM_WANTED = 5  # GiB


def examine(workspace: Workspace) -> dict[str, Any]:
    """Facts, and under `problems` one sentence each for what needs mending."""
    problems = []
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
            problems.append(f"{package} is not installed; run `make setup`.")
    device = bf16 = None
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
        from rebalance_core.device import fast_bf16, open_device

        device, bf16 = str(open_device("auto").device), fast_bf16()
    except Exception as error:  # whatever breaks in a foreign library is the finding here
        problems.append(
            f"torch and torchvision do not work together ({type(error).__name__}: {error}); "
            "run `make setup` to install versions that do."
        )
    existing = next(p for p in (workspace.root, *workspace.root.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < ROOM_WANTED:
        problems.append(f"Only {free:.1f} GiB are free at {existing}; make room before training.")
    if not os.access(existing, os.W_OK):
        problems.append(f"{existing} cannot be written; set REBALANCE_HOME to a folder that can.")
    return {
        "ok": not problems,
        "problems": problems,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": device,
        "fast_bf16": bf16,
        "workspace": str(workspace.root),
        "free_gib": round(free, 1),
        "versions": versions,
        "chromium": find_chromium(),
    }


def find_chromium() -> str | None:
    """A browser for the browser tests: $CHROMIUM, or one on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named and Path(named).exists():
        return named
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for n in names if (found := shutil.which(n))), None)
