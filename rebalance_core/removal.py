"""Removal of datasets and runs, with what depends on them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rebalance_core.datasets.dataset import remove_dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import RunView, list_runs, open_run, remove_run
from rebalance_core.runs.lineage import links, reachable, run_references
from rebalance_core.synthesis.synthetic_set import list_synthetic, remove_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.resolve import open_sets
from rebalance_core.workspace import Workspace

PROVENANCE_RUNS = ("run", "sample_run", "bring_run")  # runs that a provenance may name


@dataclass(frozen=True)
class Dependents:
    """Training sets, runs and synthetic sets that depend on what is removed."""

    sets: tuple[str, ...]
    runs: tuple[RunView, ...]
    synthetic: tuple[str, ...]
    damaged: tuple[str, ...] = ()  # names of what cannot be read, and so may depend on it too

    @property
    def summary(self) -> str:
        """'training sets a, b; 3 runs; synthetic sets c', or ''."""
        parts = []
        if self.sets:
            parts.append(f"training sets {', '.join(self.sets)}")
        if self.runs:
            parts.append(f"{len(self.runs)} run{'s' if len(self.runs) > 1 else ''}")
        if self.synthetic:
            parts.append(f"synthetic sets {', '.join(self.synthetic)}")
        if self.damaged:
            parts.append(f"perhaps {', '.join(self.damaged)}, damaged")
        return "; ".join(parts)


def dataset_dependents(workspace: Workspace, dataset: str) -> Dependents:
    """What was made from a dataset; the run that imported it counts only while it is live."""
    readable, damaged = open_sets(workspace)
    sets = tuple(s.name for s in readable if s.config.dataset == dataset)
    origins = {n: _source_dataset(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(name for name, origin in origins.items() if origin == dataset)
    unreadable = [name for name, origin in origins.items() if origin is None]
    removed = {("dataset", dataset), ("poses", dataset), ("set", dataset)}
    removed |= {("set", name) for name in sets} | {("synthetic", name) for name in synthetic}
    views = list_runs(workspace)
    runs = {view.id for view in views if _refers_to(workspace, view, removed)}
    runs |= _descendants(runs, dependency_edges(workspace, views))
    dependent_runs = tuple(view for view in views if view.id in runs)
    damaged_names = _damaged_names(damaged, unreadable)
    return Dependents(sets, dependent_runs, tuple(synthetic), damaged_names)


def _refers_to(workspace: Workspace, view: RunView, removed: set[tuple[str, str]]) -> bool:
    """Whether a run uses anything that is removed, or is importing it at the moment."""
    named = run_references(workspace, view)
    if any(r.creates and r.target == "dataset" and (r.target, n) in removed for r, n in named):
        return view.live
    return any((r.target, name) in removed for r, name in named)


def dependency_edges(workspace: Workspace, views: Sequence[RunView]) -> list[tuple[str, str]]:
    """(parent, child) of runs where the child is removed with the parent.

    A study's steps, a generator's samples and their filters are. Datasets and poses stay when the
    runs that made them are removed.
    """
    edges = links(workspace, views)
    return [(k.parent, k.child) for k in edges if k.target in ("run", "synthetic")]


def _descendants(runs: Iterable[str], edges: list[tuple[str, str]]) -> set[str]:
    return set().union(*(reachable(run, edges) for run in runs))


def run_dependents(workspace: Workspace, run_id: str) -> Dependents:
    """The runs and synthetic sets that were made from a run: see `dependency_edges`."""
    view = open_run(workspace, run_id)
    views = list_runs(workspace)
    removed = reachable(view.id, dependency_edges(workspace, views))
    sources = {n: _source_runs(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(
        n for n, source in sources.items() if source is not None and removed & source
    )
    unreadable = [name for name, source in sources.items() if source is None]
    runs = tuple(run for run in views if run.id in removed - {view.id})
    return Dependents((), runs, tuple(synthetic), _damaged_names((), unreadable))


def _provenance(workspace: Workspace, name: str) -> dict[str, Any]:
    """A synthetic set's provenance, unchecked: one damaged field must not hide the others."""
    try:
        provenance = read_json(workspace.synthetic / name / "provenance.json")
    except UserError:
        return {}
    return provenance if isinstance(provenance, dict) else {}


def _source_dataset(provenance: Mapping[str, Any]) -> str | None:
    """The dataset that a synthetic set was made from; None where that is unreadable."""
    value: Any = provenance
    for key in ("training_set", "config", "dataset"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _source_runs(provenance: Mapping[str, Any]) -> set[str] | None:
    """The runs that a synthetic set was made by; None where they are unreadable."""
    named = [provenance[key] for key in PROVENANCE_RUNS if provenance.get(key) is not None]
    if not provenance or not all(isinstance(run, str) for run in named):
        return None
    return set(named)


def _damaged_names(sets: Iterable[str], synthetic: Iterable[str]) -> tuple[str, ...]:
    return (
        *(f"training set {name}" for name in sets),
        *(f"synthetic set {name}" for name in sorted(synthetic)),
    )


def remove_run_with_dependents(workspace: Workspace, run_id: str) -> Dependents:
    """Remove a run with its dependents; raises UserError while any of them is live."""
    view = open_run(workspace, run_id)
    removed = run_dependents(workspace, view.id)
    live = next((run for run in (view, *removed.runs) if run.live), None)
    if live is not None:
        raise UserError(f"Run {live.id} is {live.status}; cancel it first.")
    for name in removed.synthetic:
        remove_synthetic(workspace, name)
    for run in (*removed.runs, view):
        remove_run(workspace, run.id)
    return removed


def remove_dataset_only(workspace: Workspace, dataset: str) -> Dependents:
    """Remove a dataset and return its dependents, which stay; UserError while one is live."""
    remaining = dataset_dependents(workspace, dataset)
    live = [view for view in remaining.runs if view.live]
    if live:
        raise UserError(f"Run {live[0].id} uses dataset {dataset}; cancel it first.")
    remove_dataset(workspace, dataset)
    return remaining
