"""What a kind of run declares of itself: its job, its device, what cleans up after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rebalance_core.runs.run import RunDirectory
from rebalance_core.workspace import Workspace

Job = Callable[[Workspace, RunDirectory], Mapping[str, Any]]
Cleanup = Callable[[Workspace, str, Mapping[str, Any]], None]  # workspace, run id, config


@dataclass(frozen=True)
class JobSpec:
    """One kind of run. Functions are named as `module:function` and imported on first use, so that
    lists and pages stay light."""

    kind: str
    function: str  # a Job
    device: bool  # whether it waits for the device, whatever its config
    device_for: tuple[str, ...] = ()  # or only for these values of the field `extractor`
    device_with: tuple[str, ...] = ()  # or only where one of these fields is set
    cleanup: str | None = None  # a Cleanup: removes what it keeps outside its directory

    def needs_device(self, config: Mapping[str, Any]) -> bool:
        if any(config.get(field) is not None for field in self.device_with):
            return True
        return self.device or config.get("extractor") in self.device_for

    def job(self) -> Job:
        job: Job = load_named(self.function)
        return job

    def clean_up(self, workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> None:
        """Called before the run is removed."""
        if self.cleanup is not None:
            cleanup: Cleanup = load_named(self.cleanup)
            cleanup(workspace, run_id, config)


def load_named(name: str) -> Any:
    """The object that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def job_specs() -> Mapping[str, JobSpec]:
    """{kind: its spec}, of every kind of run there is."""
    from rebalance_core.catalogue import JOBS

    return JOBS
