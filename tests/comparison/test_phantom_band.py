"""The phantom asks a fair question: a baseline is neither lost nor done."""

from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.classifier import CellData, train_classifier
from rebalance_core.comparison.configs import ClassifierConfig, CompareConfig
from rebalance_core.comparison.schedules import Schedule
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.datasets.training_set import SetConfig, load_part, resolve_set
from rebalance_core.runs.run import MemoryRun
from rebalance_core.whole_path import QUICK_LIMIT
from rebalance_core.workspace import Workspace


def test_quick_baseline_on_the_phantom_lands_in_the_band_on_each_of_five_seeds(
    workspace: Workspace,
) -> None:
    dataset = import_dataset(workspace, ImportConfig(name="p", source="phantom"), MemoryRun())
    config = ClassifierConfig.build(**CompareConfig.presets["quick"]["classifier"])
    scores = []
    for seed in range(5):
        chosen = resolve_set(
            workspace, "p", SetConfig(dataset=dataset.name, limit=QUICK_LIMIT, seed=seed)
        )
        real, validation, test = (
            load_part(dataset, chosen, part, config.size)
            for part in ("train", "validation", "test")
        )
        data = CellData(real, None, validation, test, chosen.classes)
        outcome, _ = train_classifier(
            config, data, Arm(), Schedule("always"), seed, MemoryRun(), log=lambda numbers: None
        )
        scores.append(outcome["best"]["test"]["macro_f1"])
    assert min(scores) >= 0.60, scores
    assert max(scores) <= 0.85, scores
