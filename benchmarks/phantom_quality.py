"""Claim: a generator trained at `small` on the phantom makes images of the class it is asked for.

Measured beside real images of the same training set: the share of generated images that a ResNet-18
trained on the real ones gives to the class they were made for; coverage (with as many real ones of
the test split as the floor); near-duplicates of training images; and the macro-F1 on the test split
of a classifier trained on generated images alone against one trained on as many real ones.

`python benchmarks/phantom_quality.py bagan-gp [FOLDER [PRESET [field=value …]]]`; FOLDER keeps the
run, so that a second call measures again without training.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import Guard, report
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import Scorer, train_scorer
from rebalance_core.classifiers.recipe import Recipe
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.classifiers.training import CellData, train_classifier
from rebalance_core.config import parse_overrides
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.base import Generator
from rebalance_core.generators.training import TrainConfig, load_generator
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import list_runs, view_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.quality import copied, neighbourhoods
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

TARGETS = {"bagan-gp": 0.7, "conditional-ddpm": 0.8}  # of the macro-F1 that real images give
AS_ASKED, COVERAGE, COPIES = 0.8, 0.4, 0.05
EPOCHS = 20
SEED = 0


def trained(workspace: Workspace, kind: str, preset: str, changes: dict[str, Any]) -> Generator:
    if "phantom" not in list_datasets(workspace):
        import_dataset(workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun())
    config = TrainConfig.make(kind, "phantom", preset, **changes).model_dump(mode="json")
    same = [v for v in list_runs(workspace, "train") if _learned(v.config) == _learned(config)]
    path = same[0].path if same else create_run(workspace, "train", config, name=f"{kind} phantom")
    if view_run(path).status != "done":
        execute(workspace, RunDirectory(path))
    return load_generator(view_run(path))


def _learned(config: dict[str, Any]) -> dict[str, Any]:
    """What training went by: guidance is of samples alone."""
    return {**config, "training": {k: v for k, v in config["training"].items() if k != "guidance"}}


def of_class(part: Images, number: int) -> np.ndarray:
    images: np.ndarray = part.images[part.labels == number]
    return images


def generated_like(
    generator: Generator, real: Images, classes: tuple[str, ...], **asked: Any
) -> Images:
    """As many generated images of each class as `real` holds."""
    made = [
        np.concatenate(list(generator.sample(c, int((real.labels == n).sum()), SEED, **asked)))
        for n, c in enumerate(classes)
    ]
    labels = np.repeat(np.arange(len(classes)), [len(m) for m in made])
    return Images(np.concatenate(made), labels, tuple(map(str, range(len(labels)))))


def macro_f1(config: ClassifierConfig, train: Images, parts: dict[str, Images], k: int) -> float:
    data = CellData(train, None, parts["validation"], parts["test"], tuple("abcdefghij"[:k]))
    cell, _ = train_classifier(
        config, data, Recipe(), Schedule("always"), SEED, MemoryRun(), log=lambda numbers: None
    )
    return float(cell["best"]["test"]["macro_f1"])


def by_class(
    scorer: Scorer, made: Images, real: Images, test: Images, number: int
) -> dict[str, float]:
    mine, true = of_class(made, number), of_class(real, number)
    probabilities, features = scorer(mine)
    _, real_features = scorer(true)
    _, test_features = scorer(of_class(test, number))
    same = min(len(features), len(test_features))
    return {
        "as_asked": float((probabilities.argmax(1) == number).mean()),
        "coverage": neighbourhoods(real_features, features).coverage,
        "coverage_of_as_many_real": neighbourhoods(real_features, test_features[:same]).coverage,
        "copies": float(copied(mine, real.images).mean()),
    }


def main(kind: str, folder: Path, preset: str, changes: dict[str, Any]) -> int:
    workspace = Workspace(folder)
    generator = trained(workspace, kind, preset, changes)
    chosen, dataset = open_set(workspace, "phantom"), open_dataset(workspace, "phantom")
    parts = {
        part: load_part(dataset, chosen, part, generator.size)
        for part in ("train", "validation", "test")
    }
    real, classes = parts["train"], chosen.classes
    config = ClassifierConfig(size=generator.size, epochs=EPOCHS, lr=0.01, cosine=True)
    training = TrainConfig.make(kind, "phantom", preset, **changes).training.model_dump()
    asked = {"guidance": training["guidance"]} if "guidance" in training else {}
    made = generated_like(generator, real, classes, **asked)
    scorer = train_scorer(config, real, classes, SEED)
    scores = {c: by_class(scorer, made, real, parts["test"], n) for n, c in enumerate(classes)}
    f1 = {
        "generated": macro_f1(config, made, parts, len(classes)),
        "real": macro_f1(config, real, parts, len(classes)),
    }
    as_asked = min(s["as_asked"] for s in scores.values())
    coverage = min(s["coverage"] for s in scores.values())
    copies = max(s["copies"] for s in scores.values())
    return report(
        claim=f"macro-F1 of a classifier trained on images of {kind} ({preset}) alone, against "
        "one trained on as many real ones",
        ours=round(f1["generated"], 4),
        theirs=round(f1["real"], 4),
        unit="macro-F1",
        ratio=round(f1["generated"] / f1["real"], 3),
        target=TARGETS[kind],
        target_met=f1["generated"] >= TARGETS[kind] * f1["real"],
        guards={
            "as_asked": Guard(round(as_asked, 4), as_asked >= AS_ASKED),
            "coverage": Guard(round(coverage, 4), coverage >= COVERAGE),
            "copies": Guard(round(copies, 4), copies <= COPIES),
        },
        classes={c: {k: round(v, 3) for k, v in s.items()} for c, s in scores.items()},
        counts=chosen.counts,
        seed=SEED,
        **asked,
    )


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "bagan-gp"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        preset = sys.argv[3] if len(sys.argv) > 3 else "small"
        sys.exit(main(kind, folder, preset, parse_overrides(sys.argv[4:])))
