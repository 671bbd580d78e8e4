"""The devices that jobs run on: each GPU, or else the CPU."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    """A device that runs one job at a time."""

    key: str  # of its lock: `cpu`, `gpu-0`
    name: str  # as it is displayed
    visible: str | None = None  # CUDA_VISIBLE_DEVICES of a job on it


CPU = Device("cpu", "the processor")


def list_devices() -> list[Device]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, or all that are installed; the CPU if none.

    Calls the driver's own tool, since pages and queued jobs do not import torch. GPUs not made by
    NVIDIA share the CPU's place: one job at a time.
    """
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return list(_installed_gpus()) or [CPU]
    devices: list[Device] = []
    for part in (p.strip() for p in visible.split(",")):
        if not part or part == "-1":  # as CUDA reads it: the list ends here
            break
        devices.append(Device(f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', part)}", f"GPU {part}", part))
    return list(dict.fromkeys(devices)) or [CPU]


@cache
def _installed_gpus() -> tuple[Device, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    devices = []
    for line in result.stdout.splitlines() if result.returncode == 0 else []:
        index, uuid, name = (part.strip() for part in f"{line},,".split(",", 2))
        if index.isdecimal():
            # By its UUID: CUDA may count the GPUs in another order than the driver.
            devices.append(Device(f"gpu-{index}", f"GPU {index} ({name.rstrip(',')})", uuid))
    return tuple(devices)
