"""What kills leave behind: files half-written, folders half-filled, uploads nobody waits for."""

import re
import shutil
import time
from pathlib import Path

from rebalance_core.errors import UserError
from rebalance_core.runs.records import read_record
from rebalance_core.system.files import remove_stale_temporaries
from rebalance_core.workspace import Workspace, list_names

UNFINISHED = re.compile(r"\.\d{8}-\d{6}-\d{3}-[\w-]+-\w+")  # hidden, by its run's id
UPLOAD_AGE = 3600.0  # seconds after which an upload that no import names counts as left behind


def remove_leftovers(workspace: Workspace, run: Path) -> None:
    """After a process is gone: what it was writing in its run and wherever jobs write."""
    shared = [
        workspace.datasets,
        workspace.sets,
        workspace.runs,
        workspace.synthetic,
        workspace.exports,
        workspace.synthetic_exports,
        workspace.root / "weights",
    ]
    inside = [run, *(p for p in run.rglob("*") if p.is_dir())]
    for name in list_names(workspace.datasets):
        dataset = workspace.datasets / name
        inside += [dataset, dataset / "arrays", dataset / "pose-versions", dataset / "scorers"]
    unfinished = workspace.partial_samples(run.name)
    inside += [p for p in unfinished.glob("*") if p.is_dir()]
    for folder in (*shared, *inside):
        remove_stale_temporaries(folder)


def remove_all_leftovers(workspace: Workspace) -> None:
    """The same over every run, with uploads and samples whose run is gone."""
    for run in workspace.runs.glob("[!.]*"):
        if (run / "run.json").exists():
            remove_leftovers(workspace, run)
        else:
            shutil.rmtree(run, ignore_errors=True)  # a lock outlived its run
    _remove_stale_uploads(workspace)
    for samples in workspace.synthetic.glob(".*-*"):
        made_aside = UNFINISHED.fullmatch(samples.name)
        if made_aside and not (workspace.runs / samples.name.removeprefix(".")).exists():
            shutil.rmtree(samples, ignore_errors=True)


def _remove_stale_uploads(workspace: Workspace) -> None:
    named: set[str] = set()
    for run in workspace.runs.glob("*-import-*"):
        try:
            source = Path(str(read_record(run)["config"].get("source", "")))
        except UserError:
            continue
        if source.is_relative_to(workspace.uploads):
            named.update(source.relative_to(workspace.uploads).parts[:1])
    for upload in workspace.uploads.glob("*"):
        if upload.name not in named and time.time() - upload.stat().st_mtime > UPLOAD_AGE:
            shutil.rmtree(upload, ignore_errors=True)
