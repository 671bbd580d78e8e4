"""What in a workspace was made of a dataset or by a run, before that is removed."""

from dataclasses import dataclass

from rebalance_core.datasets.dataset import remove_dataset
from rebalance_core.datasets.training_set import list_sets, open_set
from rebalance_core.errors import UserError
from rebalance_core.family import family
from rebalance_core.runs.executor import RunView, list_runs, open_run, remove_run
from rebalance_core.synthesis.synthetic_set import list_synthetic, open_synthetic, remove_synthetic
from rebalance_core.workspace import Workspace

MADE_BY = ("run", "sample_run", "bring_run")  # runs that a provenance may name; None for no run


@dataclass(frozen=True)
class Dependents:
    """Training sets, runs and synthetic sets that a removal leaves without what they came from."""

    sets: tuple[str, ...]
    runs: tuple[RunView, ...]
    synthetic: tuple[str, ...]

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
        return "; ".join(parts)


def dependents(workspace: Workspace, dataset: str) -> Dependents:
    """What was made of `dataset`; runs that only imported it don't count unless they go on."""
    sets = tuple(
        s for s in list_sets(workspace) if open_set(workspace, s).config.dataset == dataset
    )
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
    synthetic = sorted(
        name
        for name in list_synthetic(workspace)
        if open_synthetic(workspace, name).provenance["training_set"]["config"]["dataset"]
        == dataset
    )
    runs += tuple(
        v for v in views
        if v.kind in ("score", "filter") and v.config.get("synthetic") in synthetic
    )  # fmt: skip
    return Dependents(sets, runs, tuple(synthetic))


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
    synthetic = sorted(
        name
        for name in list_synthetic(workspace)
        if came & {open_synthetic(workspace, name).provenance.get(k) for k in MADE_BY}
    )
    runs = tuple(run for run in views if run.id in came - {view.id})
    return Dependents((), runs, tuple(synthetic))


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
