"""`runs …`: list, follow, cancel, resume, describe and remove runs."""

import time
from typing import Annotated, Any

import typer

from rebalance_core.cli.common import OVERRIDE_NAMES, Detach, Json, Yes, confirm, emit, follow
from rebalance_core.removal import remove_run_with_dependents, run_dependents
from rebalance_core.runs.executor import (
    RunView,
    cancel,
    describe,
    list_runs,
    open_run,
    remove_run,
    resume,
    view_run,
)
from rebalance_core.runs.lineage import parents
from rebalance_core.runs.metrics import count_unreadable_lines, read_metrics
from rebalance_core.runs.start import POLL_SECONDS
from rebalance_core.runs.trust import network_override
from rebalance_core.runs.upkeep import (
    clean,
    config_differences,
    read_log,
    run_bytes,
    spare_checkpoints,
)
from rebalance_core.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="List, follow, cancel, resume and remove runs.")

Network = Annotated[
    list[str] | None,
    typer.Option(
        *OVERRIDE_NAMES, help="network=module:function, for a run whose network is your own code."
    ),
]
WithDependents = Annotated[
    bool,
    typer.Option("--with-dependents", help="Also remove the runs and images that depend on it."),
]


def _summary(view: RunView) -> dict[str, Any]:
    return {
        "run": view.id,
        "kind": view.kind,
        "name": view.name,
        "note": view.note,
        "status": view.status,
        "reason": view.state.reason,
        "progress": view.progress.model_dump(),
        "bytes": run_bytes(view),
        "path": str(view.path),
    }


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List all runs, newest first.

    Queued runs get their device in the order in which they were queued.
    """
    workspace = Workspace.from_environment()
    views = list_runs(workspace)
    if as_json:
        lineage = parents(workspace, views)
        emit({"runs": [{**_summary(view), "parents": lineage[view.id]} for view in views]}, True)
        return
    for view in views:
        print(f"{view.id}  {view.status:<11} {view.name}  {view.progress.stage}")


@app.command("show")
def show(run_id: str, as_json: Json = False) -> None:
    """Show the status, config, last metrics and result of a run."""
    from rebalance_core.comparison.results import displayed_result

    workspace = Workspace.from_environment()
    view = open_run(workspace, run_id)
    last, unreadable = read_metrics(view.path)[-1:], count_unreadable_lines(view.path)
    result = displayed_result(workspace, view)
    shown = {**_summary(view), "config": view.config, "last": last, "result": result}
    emit({**shown, "unreadable_lines": unreadable} if unreadable else shown, as_json)


@app.command("log")
def log(
    run_id: str,
    lines: Annotated[int, typer.Option(min=1, help="Number of lines.")] = 50,
    following: Annotated[
        bool, typer.Option("--follow", help="Continue until the run has ended; not with --json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the last lines of a run's log."""
    view = open_run(Workspace.from_environment(), run_id)
    text, position = read_log(view.path)
    tail = text.splitlines()[-lines:]
    if as_json:
        emit({"run": view.id, "log": tail}, True)
        return
    print("\n".join(tail))
    while following and view.live:
        time.sleep(POLL_SECONDS)
        view = view_run(view.path)
        text, position = read_log(view.path, position)
        print(text, end="", flush=True)


@app.command("cancel")
def cancel_run(run_id: str, as_json: Json = False) -> None:
    """Cancel a run; it keeps a checkpoint. One that does not stop is ended after 30 s."""
    view = cancel(Workspace.from_environment(), run_id)
    emit(_summary(follow(view)), as_json)


@app.command("resume")
def resume_run(
    run_id: str, override: Network = None, detach: Detach = False, as_json: Json = False
) -> None:
    """Continue a run from its last checkpoint."""
    view = resume(Workspace.from_environment(), run_id, network_override(override))
    emit(_summary(view if detach else follow(view)), as_json)


@app.command("rename")
def rename(run_id: str, name: str, as_json: Json = False) -> None:
    """Rename a run to NAME."""
    emit(_summary(describe(Workspace.from_environment(), run_id, name=name)), as_json)


@app.command("note")
def note(run_id: str, text: str, as_json: Json = False) -> None:
    """Attach a note to a run; '' removes it."""
    emit(_summary(describe(Workspace.from_environment(), run_id, note=text)), as_json)


@app.command("diff")
def diff(run_id: str, other_id: str, as_json: Json = False) -> None:
    """Show how the configs of two runs differ."""
    workspace = Workspace.from_environment()
    one, other = open_run(workspace, run_id), open_run(workspace, other_id)
    differences = config_differences(one, other)
    if as_json:
        emit({"runs": [one.id, other.id], "differs": differences}, True)
        return
    for field, (left, right) in differences.items():
        print(f"{field}: {left} | {right}")
    if not differences:
        print("The configs are equal.")


@app.command("remove")
def remove(
    run_id: str, with_dependents: WithDependents = False, yes: Yes = False, as_json: Json = False
) -> None:
    """Remove a run that has ended, with everything in its directory."""
    workspace = Workspace.from_environment()
    view = open_run(workspace, run_id)
    words = run_dependents(workspace, view.id).summary
    if not yes:
        fate = "goes with it" if with_dependents else "stays but cannot be continued"
        warning = f" What came of it {fate}: {words}." if words else ""
        confirm(f"Remove run {view.id} ({view.name})?{warning}")
    if with_dependents:
        remove_run_with_dependents(workspace, view.id)
    else:
        remove_run(workspace, view.id)
    rest = {("with" if with_dependents else "left"): words} if words else {}
    emit({"removed": view.id, **rest}, as_json)


@app.command("clean")
def clean_up(yes: Yes = False, as_json: Json = False) -> None:
    """Remove checkpoints that are no longer needed, and leftovers of killed processes."""
    workspace = Workspace.from_environment()
    spare = spare_checkpoints(workspace)
    if spare and not yes:
        size = sum(each.bytes for each in spare) / 2**20
        confirm(
            f"Remove old checkpoints of {len(spare)} run(s), {size:,.1f} MB? Completed runs need "
            "none; other ended runs keep their last."
        )
    emit({"freed_bytes": clean(workspace)}, as_json)
