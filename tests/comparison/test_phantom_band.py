"""The phantom is a fair test: a baseline is neither hopeless nor saturated."""

import pytest

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.classifiers.training import CellData, train_classifier
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.runs.run import MemoryRun
from rebalance_core.study import QUICK_LIMIT
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import resolve_set
from rebalance_core.workspace import Workspace

SEEDS = 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the phantom of the usual size, `p`."""
    workspace = Workspace(tmp_path_factory.mktemp("band"))
    import_dataset(workspace, ImportConfig(name="p", source="phantom"), MemoryRun())
    return workspace


@pytest.mark.parametrize("seed", range(SEEDS))
def test_quick_baseline_on_the_phantom_lands_in_the_band(home: Workspace, seed: int) -> None:
    config = ClassifierConfig.build(**CompareConfig.presets["quick"]["classifier"])
    chosen = resolve_set(home, "p", SetConfig(dataset="p", limit=QUICK_LIMIT, seed=seed))
    dataset = open_dataset(home, "p")
    real, validation, test = (
        load_part(dataset, chosen, part, config.size) for part in ("train", "validation", "test")
    )
    data = CellData(real, None, validation, test, chosen.classes)
    outcome, _ = train_classifier(
        config, data, Recipe(), Schedule("always"), seed, MemoryRun(), log=lambda numbers: None
    )
    chosen_epoch = outcome["curve"][outcome["best"]["epoch"] - 1]
    assert 0.60 <= chosen_epoch["test_macro_f1"] <= 0.85
