"""The declaration of a kind of run: config, job, device, title, checks and clean-up."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rebalance_core.config import Config, Reference, reference_fields, references
from rebalance_core.errors import UserError
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from rebalance_core.runs.directory import RunDirectory
    from rebalance_core.runs.executor import RunView

Job = Callable[[Workspace, "RunDirectory"], Mapping[str, Any]]
Check = Callable[[Workspace, Any], Any]  # workspace, config
Prepare = Callable[[Workspace, Any], Config]  # workspace, config → the config to run
Cleanup = Callable[[Workspace, str, Mapping[str, Any]], None]  # workspace, run id, config
NamedReference = tuple[Reference, str]


@dataclass(frozen=True)
class JobSpec:
    """The specification of one kind of run.

    Functions and classes are named as `module:name` and imported on first use, so that lists and
    pages stay light."""

    kind: str
    title: str  # name of its runs: a format string of config fields, such as "sample {name}"
    config: str  # a Config; lineage, removal and checks follow its references
    function: str  # a Job
    device: bool  # whether it waits for a device, whatever its config
    device_for: tuple[str, ...] = ()  # or only for these values of the field `extractor`
    device_with: tuple[str, ...] = ()  # or only where one of these fields is set
    check: str | None = None  # a Check: raises UserError for a config that would fail
    prepare: str | None = None  # a Prepare: checks, and resolves what depends on the machine
    # {config field: its type on disk} of what pages and lists read besides references
    listed: Mapping[str, Any] = field(default_factory=dict)
    references: str | None = None  # (RunView) → references in its results
    cleanup: str | None = None  # a Cleanup: removes what it wrote outside its directory

    def needs_device(self, config: Mapping[str, Any]) -> bool:
        """Whether a run with this config waits for a device."""
        if any(config.get(field) is not None for field in self.device_with):
            return True
        return self.device or config.get("extractor") in self.device_for

    @property
    def config_type(self) -> type[Config]:
        config_type: type[Config] = load_named(self.config)
        return config_type

    def load_job(self) -> Job:
        job: Job = load_named(self.function)
        return job

    def stored_fields(self) -> dict[str, Any]:
        """{config field: its type} of what pages, lists and lineage read from `run.json`."""
        fields = self.config_type.model_fields
        annotations = {name: fields[name].annotation for name in reference_fields(self.config_type)}
        return {**annotations, **self.listed}

    def references_of(self, view: "RunView") -> list[NamedReference]:
        """References of a run: those in its config and those in its results."""
        run_references = references(self.config_type, view.config)
        if self.references is not None:
            run_references += load_named(self.references)(view)
        return run_references

    def clean_up(self, workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
        """Remove what a run wrote outside its directory; called before it is removed."""
        if _creates_images(self.config_type):
            shutil.rmtree(workspace.partial_samples(run_id), ignore_errors=True)
        if self.cleanup is not None:
            cleanup: Cleanup = load_named(self.cleanup)
            cleanup(workspace, run_id, config)


def _creates_images(config: type[Config]) -> bool:
    marks = (mark for field_marks in reference_fields(config).values() for mark in field_marks)
    return any(mark.target == "synthetic" and mark.creates for mark in marks)


@dataclass(frozen=True)
class TargetSpec:
    """Something that configs refer to by name."""

    open: str  # (workspace, name) → object or path; raises UserError where there is none
    references: str | None = None  # (workspace, name) → what it was made from


def load_named(name: str) -> Any:
    """The object that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def job_specs() -> Mapping[str, JobSpec]:
    """{kind: its spec}, of every kind of run there is."""
    from rebalance_core.catalogue import JOBS

    return JOBS


def target_specs() -> Mapping[str, TargetSpec]:
    """{target of a reference: its spec}."""
    from rebalance_core.catalogue import TARGETS

    return TARGETS


def job_spec_of(config: Config) -> JobSpec:
    """The spec of the runs that a config describes; raises UserError for any other config."""
    name = f"{type(config).__module__}:{type(config).__qualname__}"
    spec = next((spec for spec in job_specs().values() if spec.config == name), None)
    if spec is None:
        raise UserError(f"A {type(config).__name__} is not the config of a run.")
    return spec


def set_references(workspace: Workspace, name: str) -> Sequence[NamedReference]:
    """What a training set was made from: a dataset, or its poses if the set selects by them."""
    function = load_named(str(target_specs()["set"].references))
    set_references: Sequence[NamedReference] = function(workspace, name)
    return set_references
