"""Export of a synthetic set: its image folder with provenance.json, or a zip of it."""

import shutil
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.system.files import atomic_folder, atomic_zip
from rebalance_core.workspace import Workspace


def export_synthetic(workspace: Workspace, name: str, target: Path) -> Path:
    """Copy a set to the new folder `target`, or the new .zip file; atomic."""
    synthetic = open_synthetic(workspace, name)
    target = target.expanduser().resolve()
    if target.exists():
        raise UserError(f"{target} already exists; choose another name.")
    if target.is_relative_to(workspace.synthetic.resolve()):
        raise UserError(
            f"{target} is inside the workspace's synthetic sets; choose another folder."
        )
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a folder; choose a target in an existing folder.")
    if target.suffix.lower() == ".zip":
        atomic_zip(synthetic.path, target, synthetic.name)
        return target
    with atomic_folder(target) as temp:
        shutil.copytree(synthetic.path, temp, dirs_exist_ok=True)
    return target


def zip_synthetic(workspace: Workspace, name: str) -> Path:
    """Zip a set in the workspace's exports, for the browser to download."""
    synthetic = open_synthetic(workspace, name)
    target = workspace.exported_synthetic(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_zip(synthetic.path, target, name)
    return target
