"""Shared by all commands: option types, output, and starting and following runs."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from rebalance_core.config import Config
from rebalance_core.runs.executor import RunView, cancel, view_run
from rebalance_core.runs.start import POLL_SECONDS, start_run, wait_for
from rebalance_core.synthesis.synthetic_set import open_all_synthetic
from rebalance_core.workspace import Workspace

OVERRIDE_NAMES = ("--set", "--override")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Detach = Annotated[bool, typer.Option(help="Start the run in the background and return at once.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Preset = Annotated[str, typer.Option(help="quick, small, paper or strong.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Split = Annotated[str, typer.Option(help="official or clean.")]
Override = Annotated[
    list[str] | None, typer.Option(*OVERRIDE_NAMES, help="Change a setting: field=value (repeat).")
]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="Print the expected time and size; start nothing.")
]
SetName = Annotated[str, typer.Argument(metavar="SET", help="A training set or a dataset.")]
SyntheticName = Annotated[str, typer.Argument(metavar="SYNTHETIC", help="A synthetic set.")]


def print_error(sentence: str, style: str) -> None:
    """Print a sentence on stderr exactly as it is, without markup."""
    from rich.console import Console

    Console(stderr=True).print(
        sentence, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True
    )


def confirm(question: str) -> None:
    """Ask on stderr, so that stdout contains only the result; abort unless the answer is yes."""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def emit(value: Mapping[str, Any], as_json: bool) -> None:
    """Print the result on stdout: one JSON object, or one line per key."""
    if as_json:
        print(json.dumps(value))  # ASCII, for consoles and pipes of any encoding
        return
    for name, item in value.items():
        text = json.dumps(item, ensure_ascii=False) if isinstance(item, dict | list) else item
        print(f"{name}: {text}")


def emit_listing(title: str, items: Mapping[str, Any], as_json: bool) -> None:
    """Print named items: under `title` in JSON, else one line per item or `title: none yet`."""
    emit({title: items} if as_json else items or {title: "none yet"}, as_json)


def warn_of_damaged(workspace: Workspace) -> None:
    """Print on stderr why synthetic sets that cannot be read were skipped."""
    for sentence in open_all_synthetic(workspace)[1].values():
        print_error(f"Skipped: {sentence}", "yellow")


def start(
    config: Config,
    detach: bool,
    as_json: bool,
    result: Callable[[RunView], Mapping[str, Any]] = lambda view: view.result,
    network: str | None = None,
) -> None:
    """Start a run, then wait for it and print its result, or with `detach` print its id."""
    view = start_run(Workspace.from_environment(), config, network=network)
    if detach:
        emit({"run": view.id, "status": view.status}, as_json)
        return
    view = wait_until_done(view)
    emit({"run": view.id, **result(view)}, as_json)


def wait_until_done(view: RunView) -> RunView:
    """Follow a run to its end; raises UserError unless it is done."""
    return wait_for(follow(view))


def follow(view: RunView) -> RunView:
    """Show progress on stderr until the run ends; Ctrl-C requests cancellation."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(view.name, total=1.0)
        while view.live:
            try:
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                cancel(Workspace(view.path.parent.parent), view.id)
                console.print("Cancelling; the run keeps a checkpoint.")
            view = view_run(view.path)
            stage = view.progress.stage or view.status
            bar.update(task, completed=view.progress.fraction, description=stage)
    return view
