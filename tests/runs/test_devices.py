"""Which devices there are: as CUDA_VISIBLE_DEVICES says, or as the driver's tool tells."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rebalance_core.runs import devices
from rebalance_core.runs.devices import CPU, Device, list_devices


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose PATH has a driver's tool that tells of two GPUs, and no variable set."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        f"#!{sys.executable}\n"
        "print('0, GPU-aaaa, NVIDIA H100 80GB HBM3')\nprint('1, GPU-bbbb, NVIDIA A100, 40GB')\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices._installed_gpus.cache_clear()
    yield tool
    devices._installed_gpus.cache_clear()


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("", [CPU]),
        ("-1", [CPU]),
        ("0", [Device("gpu-0", "GPU 0", "0")]),
        ("2, 5", [Device("gpu-2", "GPU 2", "2"), Device("gpu-5", "GPU 5", "5")]),
        ("1,1", [Device("gpu-1", "GPU 1", "1")]),
        ("3,-1,4", [Device("gpu-3", "GPU 3", "3")]),
        ("GPU-8f2a/../x", [Device("gpu-GPU-8f2a____x", "GPU GPU-8f2a/../x", "GPU-8f2a/../x")]),
    ],
)
def test_the_variable_chooses(
    monkeypatch: pytest.MonkeyPatch, told: str, found: list[Device]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert list_devices() == found


def test_without_it_the_drivers_tool_tells(driver: Path) -> None:
    assert list_devices() == [
        Device("gpu-0", "GPU 0 (NVIDIA H100 80GB HBM3)", "GPU-aaaa"),
        Device("gpu-1", "GPU 1 (NVIDIA A100, 40GB)", "GPU-bbbb"),
    ]


@pytest.mark.parametrize("script", ["exit 9", "echo"])
def test_a_tool_without_a_driver_means_the_processor(driver: Path, script: str) -> None:
    driver.write_text(f"#!/bin/sh\n{script}\n")
    assert list_devices() == [CPU]
