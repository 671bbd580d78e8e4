"""The one way to start a run, for pages, commands, studies and the API."""

import time
from collections.abc import Sequence
from pathlib import Path

from rebalance_core.config import Config, reference_fields, references
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import create_run, find_run
from rebalance_core.runs.executor import RunView, spawn, view_run
from rebalance_core.runs.spec import job_spec_of, load_named, target_specs
from rebalance_core.system.files import translate_disk_full
from rebalance_core.workspace import Workspace

POLL_SECONDS = 0.3


def start_run(workspace: Workspace, config: Config, *, network: str | None = None) -> RunView:
    """Check a config, record it as a run and start its process, which outlives this one.

    `network` is the `module:function` that a person has named, the only one that may be imported.
    Raises UserError, before anything is written, for what is known to fail.
    """
    with translate_disk_full(workspace.root):
        path = record_run(workspace, config)
        spawn(workspace, path, network)
    return view_run(path)


def wait_for(view: RunView) -> RunView:
    """Wait for a run to end; raises UserError, with its reason, unless it is done."""
    while view.live:
        time.sleep(POLL_SECONDS)
        view = view_run(view.path)
    if view.status != "done":
        raise UserError(f"Run {view.id} {view.status}: {view.state.reason}")
    return view


def record_run(
    workspace: Workspace, config: Config, *, name: str | None = None, parents: Sequence[str] = ()
) -> Path:
    """Check a config and make its run's directory, queued; nothing is started.

    The run is called `name`, or by its kind's title. Its parents are `parents` and the runs that
    its config refers to; its seed is the config's, if it has one.
    """
    spec = job_spec_of(config)
    config = check_config(workspace, config)
    values = config.model_dump(mode="json")
    run_ids = [n for reference, n in references(type(config), values) if reference.target == "run"]
    return create_run(
        workspace,
        spec.kind,
        values,
        name=name or spec.title.format_map(values),
        seed=getattr(config, "seed", None),
        parents=list(dict.fromkeys([*parents, *run_ids])),
    )


def check_config(workspace: Workspace, config: Config) -> Config:
    """The config as it will run, with whole run ids; raises UserError for what is known to fail."""
    spec = job_spec_of(config)
    config = _with_whole_ids(workspace, config)
    for reference, name in references(type(config), config.model_dump(mode="json")):
        if reference.required and not reference.creates:
            load_named(target_specs()[reference.target].open)(workspace, name)
    if spec.prepare is not None:
        prepared: Config = load_named(spec.prepare)(workspace, config)
        config = prepared
    if spec.check is not None:
        load_named(spec.check)(workspace, config)
    return config


def _with_whole_ids(workspace: Workspace, config: Config) -> Config:
    """Replace parts of run ids, which commands accept, by the whole ids."""
    whole_ids = {}
    for field, marks in reference_fields(type(config)).items():
        value = getattr(config, field)
        if isinstance(value, str) and any(mark.target == "run" for mark in marks):
            whole_ids[field] = find_run(workspace, value).name
    return config.model_copy(update=whole_ids)
