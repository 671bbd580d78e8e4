"""Leftovers of killed processes: partial files and folders, uploads that no import needs."""

import re
import shutil
import time
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.runs.records import read_record
from rebalance_core.system.files import remove_stale_temporaries
from rebalance_core.workspace import Workspace, list_names

PARTIAL_SAMPLES = re.compile(r"\.\d{8}-\d{6}-\d{3}-[\w-]+-\w+")  # hidden, by its run's id
UPLOAD_AGE = 3600.0  # seconds after which an upload that no import names is a leftover


def remove_leftovers(workspace: Workspace, run: Path) -> None:
    """Remove what a killed process was writing, in its run and wherever jobs write."""
    shared = [
        workspace.datasets,
        workspace.sets,
        workspace.runs,
        workspace.synthetic,
        workspace.exports,
        workspace.synthetic_exports,
        workspace.root / "weights",
    ]
    nested = [run, *(p for p in run.rglob("*") if p.is_dir())]
    for name in list_names(workspace.datasets):
        dataset = workspace.datasets / name
        nested += [dataset, dataset / "arrays", dataset / "pose-versions", dataset / "scorers"]
    nested += [p for p in workspace.partial_samples(run.name).glob("*") if p.is_dir()]
    for folder in (*shared, *nested):
        remove_stale_temporaries(folder)


def remove_all_leftovers(workspace: Workspace) -> None:
    """Remove the leftovers of every run, with uploads and samples whose run is gone."""
    for run in workspace.runs.glob("[!.]*"):
        if (run / "run.json").exists():
            remove_leftovers(workspace, run)
        else:
            shutil.rmtree(run, ignore_errors=True)  # only a lock is left of it
    _remove_stale_uploads(workspace)
    for samples in workspace.synthetic.glob(".*-*"):
        is_partial = PARTIAL_SAMPLES.fullmatch(samples.name)
        if is_partial and not (workspace.runs / samples.name.removeprefix(".")).exists():
            shutil.rmtree(samples, ignore_errors=True)


def _remove_stale_uploads(workspace: Workspace) -> None:
    referenced: set[str] = set()
    for run in workspace.runs.glob("*-import-*"):
        try:
            source = Path(str(read_record(run).config.get("source", "")))
        except UserError:
            continue
        if source.is_relative_to(workspace.uploads):
            referenced.update(source.relative_to(workspace.uploads).parts[:1])
    for upload in workspace.uploads.glob("*"):
        if upload.name not in referenced and time.time() - upload.stat().st_mtime > UPLOAD_AGE:
            shutil.rmtree(upload, ignore_errors=True)
