"""What in a workspace was made of a dataset or by a run, before that is removed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rebalance_core.datasets.dataset import remove_dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import RunView, list_runs, open_run, remove_run
from rebalance_core.runs.lineage import family
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
    def words(self) -> str:
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
    """What was made of `dataset`; runs that only imported it don't count unless they go on."""
    found, damaged = open_sets(workspace)
    sets = tuple(s.name for s in found if s.config.dataset == dataset)
    views = list_runs(workspace)
    runs = tuple(
        view
        for view in views
        if (view.kind != "import" and view.config.get("dataset") == dataset)
        or view.config.get("set") in (dataset, *sets)
        or (view.kind == "import" and view.live and view.config.get("name") == dataset)
    )
    made = {view.id for view in runs}
    runs += tuple(v for v in views if v.kind == "sample" and v.config.get("run") in made)
    made_from = {n: _dataset_of(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(name for name, seen in made_from.items() if seen == dataset)
    unclear = [name for name, seen in made_from.items() if seen is None]
    runs += tuple(
        v for v in views if v.kind in ("score", "filter") and v.config.get("synthetic") in synthetic
    )
    return Dependents(sets, runs, tuple(synthetic), _in_words(damaged, unclear))


def run_dependents(workspace: Workspace, run_id: str) -> Dependents:
    """What came of a run whose directory holds what others need: a study its steps, a trained
    generator its samples, those the comparisons. Datasets and poses have places of their own."""
    view = open_run(workspace, run_id)
    if view.kind not in ("train", "sample", "bring", "filter", "study"):
        return Dependents((), (), ())
    views = list_runs(workspace)
    links = family(workspace, views, view.id).links
    came = {view.id}
    for run in sorted(views, key=lambda run: run.id):
        if any(parent in came for parent, child in links if child == run.id):
            came.add(run.id)
    made_by = {n: _runs_of(_provenance(workspace, n)) for n in list_synthetic(workspace)}
    synthetic = sorted(name for name, by in made_by.items() if by is not None and came & by)
    unclear = [name for name, by in made_by.items() if by is None]
    runs = tuple(run for run in views if run.id in came - {view.id})
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


def remove_with_warning(workspace: Workspace, dataset: str) -> Dependents:
    """Remove a dataset, and say what depended on it; refused while a run works on it."""
    found = dependents(workspace, dataset)
    live = [view for view in found.runs if view.live]
    if live:
        raise UserError(f"Run {live[0].id} works on dataset {dataset}; cancel it first.")
    remove_dataset(workspace, dataset)
    return found
