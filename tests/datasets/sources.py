"""Sources to import, and checks of a workspace after an import."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from commands import Done

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.run import MemoryRun
from rebalance_core.workspace import Workspace

BARE = {"cat": 3, "dog": 2}

Files = dict[str, bytes]


def png(value: int, *, colour: bool = False) -> bytes:
    shape = (6, 5, 3) if colour else (6, 5)
    pixels = np.full(shape, value, np.uint8)
    if colour:
        pixels[..., 1:] = 0
    return png_bytes(pixels)


def folders(counts: Mapping[str, int], **options: bool) -> Files:
    """{folder: n} → n distinct images in each."""
    names = [f"{folder}/{k}.png" for folder, n in counts.items() for k in range(n)]
    return {name: png(100 + number, **options) for number, name in enumerate(names)}


def pack(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpack(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def import_source(
    workspace: Workspace, source: Path | str, name: str = "taken", **limits: float
) -> Dataset:
    config = ImportConfig.build(name=name, source=str(source), **limits)
    return import_dataset(workspace, config, MemoryRun())


def leftovers(workspace: Workspace) -> list[str]:
    """All names in the datasets' folder, hidden ones too."""
    exists = workspace.datasets.exists()
    return sorted(p.name for p in workspace.datasets.iterdir()) if exists else []


def contents(home: Path) -> dict[str, str]:
    """The digests of all files of a workspace except runs, and its folders, hidden ones too."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(home.rglob("*"))
        if path.relative_to(home).parts[0] != "runs"
    }


def refusal(done: Done) -> str:
    """The one sentence on stderr of a refused command, whose stdout is empty."""
    sentence = done.stderr.strip()
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence
