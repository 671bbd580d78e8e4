"""What in a workspace was made of a dataset, before that is removed."""

from dataclasses import dataclass

from rebalance_core.datasets.dataset import remove_dataset
from rebalance_core.datasets.training_set import list_sets, open_set
from rebalance_core.errors import UserError
from rebalance_core.files import read_json
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.workspace import Workspace, list_names


@dataclass(frozen=True)
class Dependents:
    """Training sets, runs and synthetic sets that a dataset's removal leaves without it."""

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
    synthetic = []
    for name in list_names(workspace.synthetic):
        about = read_json(workspace.synthetic / name / "provenance.json")
        if about["training_set"]["config"]["dataset"] == dataset:
            synthetic.append(name)
    return Dependents(sets, runs, tuple(synthetic))


def remove_with_warning(workspace: Workspace, dataset: str) -> Dependents:
    """Remove a dataset, and say what depended on it; refused while a run works on it."""
    found = dependents(workspace, dataset)
    live = [view for view in found.runs if view.live]
    if live:
        raise UserError(f"Run {live[0].id} works on dataset {dataset}; cancel it first.")
    remove_dataset(workspace, dataset)
    return found
