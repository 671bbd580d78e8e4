"""A synthetic set to take away: its image folder with provenance.json, or that as a zip."""

import shutil
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.system.files import atomic_folder, atomic_zip
from rebalance_core.workspace import Workspace


def export_synthetic(workspace: Workspace, name: str, target: Path) -> Path:
    """Into the new folder `target`, or the new file where it ends in .zip; the whole or nothing."""
    found = open_synthetic(workspace, name)
    target = target.expanduser().resolve()
    if target.exists():
        raise UserError(f"{target} exists already; name one that doesn't.")
    if target.is_relative_to(workspace.synthetic.resolve()):
        raise UserError(f"{target} lies among the workspace's own synthetic sets; name another.")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is no folder; name a target in one that is there.")
    if target.suffix.lower() == ".zip":
        atomic_zip(found.path, target, found.name)
        return target
    with atomic_folder(target) as aside:
        shutil.copytree(found.path, aside, dirs_exist_ok=True)
    return target


def zip_synthetic(workspace: Workspace, name: str) -> Path:
    """For the browser, in the workspace's exports."""
    found = open_synthetic(workspace, name)
    target = workspace.exported_synthetic(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_zip(found.path, target, name)
    return target
