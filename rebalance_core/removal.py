"""What in a workspace was made of a dataset or by a run, before that is removed."""

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

MADE_BY = ("run", "sample_run", "bring_run")  # runs that a provenance may name; None for no run


@dataclass(frozen=True)
class Dependents:
    """Training sets, runs and synthetic sets that a removal leaves without what they came from."""

    sets: tuple[str, ...]
    runs: tuple[RunView, ...]
    synthetic: tuple[str, ...]
    damaged: tuple[str, ...] = ()  # in words: what cannot be read, and so may belong to these

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


def dependents(workspace: Workspace, dataset: str) -> Dependents:
    """What was made of `dataset`; runs that only made it don't count unless they go on."""
    found, damaged = open_sets(workspace)
    sets = tuple(s.name for s in found if s.config.dataset == dataset)
    made_from = {n: _dataset_of(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(name for name, origin in made_from.items() if origin == dataset)
    unclear = [name for name, origin in made_from.items() if origin is None]
    removed = {("dataset", dataset), ("poses", dataset), ("set", dataset)}
    removed |= {("set", name) for name in sets} | {("synthetic", name) for name in synthetic}
    views = list_runs(workspace)
    runs = {view.id for view in views if _refers_to(workspace, view, removed)}
    runs |= _descendants(runs, dependency_edges(workspace, views))
    made = tuple(view for view in views if view.id in runs)
    return Dependents(sets, made, tuple(synthetic), _in_words(damaged, unclear))


def _refers_to(workspace: Workspace, view: RunView, removed: set[tuple[str, str]]) -> bool:
    """Whether a run uses anything that is removed, or is making it right now."""
    named = run_references(workspace, view)
    makes = any(r.creates and r.target == "dataset" and (r.target, n) in removed for r, n in named)
    if makes:
        return view.live
    return any((r.target, name) in removed for r, name in named)


def dependency_edges(workspace: Workspace, views: Sequence[RunView]) -> list[tuple[str, str]]:
    """(parent, child) where the child needs what lies in the parent's directory or goes with it:
    a study's steps, a generator's samples, their filters. Datasets and poses stay."""
    found = links(workspace, views)
    return [(k.parent, k.child) for k in found if k.target in ("run", "synthetic")]


def _descendants(runs: Iterable[str], edges: list[tuple[str, str]]) -> set[str]:
    return set().union(*(reachable(run, edges) for run in runs))


def run_dependents(workspace: Workspace, run_id: str) -> Dependents:
    """What came of a run and goes with it: a study's steps, a generator's samples, what was made
    of those. Datasets and poses have places of their own."""
    view = open_run(workspace, run_id)
    views = list_runs(workspace)
    removed = reachable(view.id, dependency_edges(workspace, views))
    made_by = {n: _runs_of(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(name for name, by in made_by.items() if by is not None and removed & by)
    unclear = [name for name, by in made_by.items() if by is None]
    runs = tuple(run for run in views if run.id in removed - {view.id})
    return Dependents((), runs, tuple(synthetic), _in_words((), unclear))


def _provenance(workspace: Workspace, name: str) -> dict[str, Any]:
    """What a synthetic set says of its origin, even where other parts of it are damaged."""
    try:
        found = read_json(workspace.synthetic / name / "provenance.json")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _dataset_of(provenance: Mapping[str, Any]) -> str | None:
    """The dataset that a synthetic set was made from; None where it does not say."""
    value: Any = provenance
    for key in ("training_set", "config", "dataset"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _runs_of(provenance: Mapping[str, Any]) -> set[str] | None:
    """The runs that a synthetic set came of; None where it does not say."""
    named = [provenance[key] for key in MADE_BY if provenance.get(key) is not None]
    if not provenance or not all(isinstance(run, str) for run in named):
        return None
    return set(named)


def _in_words(sets: Iterable[str], synthetic: Iterable[str]) -> tuple[str, ...]:
    return (
        *(f"training set {name}" for name in sets),
        *(f"synthetic set {name}" for name in sorted(synthetic)),
    )


def remove_run_with_dependents(workspace: Workspace, run_id: str) -> Dependents:
    """Remove a run with all that came of it; refused while any of it goes on."""
    view = open_run(workspace, run_id)
    found = run_dependents(workspace, view.id)
    live = next((run for run in (view, *found.runs) if run.live), None)
    if live is not None:
        raise UserError(f"Run {live.id} is {live.status}; cancel it first.")
    for name in found.synthetic:
        remove_synthetic(workspace, name)
    for run in (*found.runs, view):
        remove_run(workspace, run.id)
    return found


def remove_dataset_and_report(workspace: Workspace, dataset: str) -> Dependents:
    """Remove a dataset, and say what depended on it; refused while a run works on it."""
    found = dependents(workspace, dataset)
    live = [view for view in found.runs if view.live]
    if live:
        raise UserError(f"Run {live[0].id} works on dataset {dataset}; cancel it first.")
    remove_dataset(workspace, dataset)
    return found
