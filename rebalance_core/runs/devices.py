"""What a job can be given to compute on: each GPU on its own, or else the processor."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    """One place in which one job at a time computes."""

    key: str  # names its lock: `cpu`, `gpu-0`
    name: str  # for people
    visible: str | None = None  # what CUDA_VISIBLE_DEVICES says in a job on it


CPU = Device("cpu", "the processor")


def list_devices() -> list[Device]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, else all that there are; the processor if none.

    Asks the driver's own tool, since a page or a waiting job may not import torch. A GPU of
    another make than NVIDIA's counts with the processor: one job at a time.
    """
    told = os.environ.get(VISIBLE)
    if told is None:
        return list(_installed()) or [CPU]
    named: list[Device] = []
    for part in (p.strip() for p in told.split(",")):
        if not part or part == "-1":  # as CUDA reads it: the list ends here
            break
        named.append(Device(f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', part)}", f"GPU {part}", part))
    return list(dict.fromkeys(named)) or [CPU]


@cache
def _installed() -> tuple[Device, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = []
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        index, uuid, name = (part.strip() for part in f"{line},,".split(",", 2))
        if index.isdecimal():
            # By its UUID: CUDA may count the GPUs in another order than the driver.
            found.append(Device(f"gpu-{index}", f"GPU {index} ({name.rstrip(',')})", uuid))
    return tuple(found)
