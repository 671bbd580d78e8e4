"""Everything that decides or computes, without Streamlit; its public names are in `__all__`.

Names are imported on first use, so that importing the package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rebalance_core.comparison.config import CompareConfig
    from rebalance_core.datasets.dataset import open_dataset
    from rebalance_core.datasets.source import ImportConfig
    from rebalance_core.errors import UserError
    from rebalance_core.generators.training import TrainConfig
    from rebalance_core.poses.config import PosesConfig
    from rebalance_core.runs.executor import list_runs, open_run
    from rebalance_core.runs.start import start_run, wait_for
    from rebalance_core.study import StudyConfig
    from rebalance_core.synthesis.filtering import FilterConfig
    from rebalance_core.synthesis.sampling import SampleConfig
    from rebalance_core.synthesis.scoring import ScoreConfig
    from rebalance_core.synthesis.synthetic_set import open_synthetic
    from rebalance_core.training_sets.config import SetConfig
    from rebalance_core.training_sets.resolve import make_set, open_set
    from rebalance_core.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "CompareConfig",
    "FilterConfig",
    "ImportConfig",
    "PosesConfig",
    "SampleConfig",
    "ScoreConfig",
    "SetConfig",
    "StudyConfig",
    "TrainConfig",
    "UserError",
    "Workspace",
    "list_runs",
    "make_set",
    "open_dataset",
    "open_run",
    "open_set",
    "open_synthetic",
    "start_run",
    "wait_for",
]
_MODULES = {
    "CompareConfig": "comparison.config",
    "FilterConfig": "synthesis.filtering",
    "ImportConfig": "datasets.source",
    "PosesConfig": "poses.config",
    "SampleConfig": "synthesis.sampling",
    "ScoreConfig": "synthesis.scoring",
    "SetConfig": "training_sets.config",
    "StudyConfig": "study",
    "TrainConfig": "generators.training",
    "UserError": "errors",
    "Workspace": "workspace",
    "list_runs": "runs.executor",
    "make_set": "training_sets.resolve",
    "open_dataset": "datasets.dataset",
    "open_run": "runs.executor",
    "open_set": "training_sets.resolve",
    "open_synthetic": "synthesis.synthetic_set",
    "start_run": "runs.start",
    "wait_for": "runs.start",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
