"""Claim: a generator trained at `small` on the phantom generates images of the requested class.

Measured against real images of the same training set: the share of generated images that a
ResNet-18 trained on the real ones assigns to their class; coverage (and that of equally many real
test images); near-duplicates of training images; and the macro-F1 on the test split of a classifier
trained on generated images alone against one trained on equally many real ones.

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
from rebalance_core.synthesis.quality import is_near_copy, neighbourhoods
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

TARGETS = {"bagan-gp": 0.7, "conditional-ddpm": 0.8}  # of the macro-F1 with real images
LABEL_ACCURACY, COVERAGE, COPIES = 0.8, 0.4, 0.05  # limits of the guards
EPOCHS = 20
SEED = 0


def train(workspace: Workspace, kind: str, preset: str, overrides: dict[str, Any]) -> Generator:
    """The generator of this config, trained unless the workspace has it."""
    if "phantom" not in list_datasets(workspace):
        import_dataset(workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun())
    config = TrainConfig.make(kind, "phantom", preset, **overrides).model_dump(mode="json")
    views = list_runs(workspace, "train")
    matches = [v for v in views if _training_key(v.config) == _training_key(config)]
    path = (
        matches[0].path
        if matches
        else create_run(workspace, "train", config, name=f"{kind} phantom")
    )
    if view_run(path).status != "done":
        execute(workspace, RunDirectory(path))
    return load_generator(view_run(path))


def _training_key(config: dict[str, Any]) -> dict[str, Any]:
    """The config without guidance, which affects sampling alone."""
    return {**config, "training": {k: v for k, v in config["training"].items() if k != "guidance"}}


def of_class(part: Images, number: int) -> np.ndarray:
    images: np.ndarray = part.images[part.labels == number]
    return images


def generated_like(
    generator: Generator, real: Images, classes: tuple[str, ...], **options: Any
) -> Images:
    """As many generated images of each class as `real` contains."""
    images = [
        np.concatenate(list(generator.sample(c, int((real.labels == n).sum()), SEED, **options)))
        for n, c in enumerate(classes)
    ]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in images])
    return Images(np.concatenate(images), labels, tuple(map(str, range(len(labels)))))


def macro_f1(config: ClassifierConfig, train: Images, parts: dict[str, Images], k: int) -> float:
    data = CellData(train, None, parts["validation"], parts["test"], tuple("abcdefghij"[:k]))
    cell, _ = train_classifier(
        config, data, Recipe(), Schedule("always"), SEED, MemoryRun(), log=lambda numbers: None
    )
    return float(cell["curve"][cell["best"]["epoch"] - 1]["test_macro_f1"])


def class_scores(
    scorer: Scorer,
    generated: Images,
    real: Images,
    test: Images,
    number: int,
    symmetries: tuple[int, ...],
) -> dict[str, float]:
    """Measures of the generated images of class `number`."""
    images = of_class(generated, number)
    probabilities, features = scorer(images)
    _, real_features = scorer(of_class(real, number))
    _, test_features = scorer(of_class(test, number))
    count = min(len(features), len(test_features))
    return {
        "label_accuracy": float((probabilities.argmax(1) == number).mean()),
        "coverage": neighbourhoods(real_features, features).coverage,
        "coverage_of_as_many_real": neighbourhoods(real_features, test_features[:count]).coverage,
        "copies": float(is_near_copy(images, real.images, symmetries).mean()),
    }


def main(kind: str, folder: Path, preset: str, overrides: dict[str, Any]) -> int:
    workspace = Workspace(folder)
    generator = train(workspace, kind, preset, overrides)
    training_set, dataset = open_set(workspace, "phantom"), open_dataset(workspace, "phantom")
    parts = {
        part: load_part(dataset, training_set, part, generator.size)
        for part in ("train", "validation", "test")
    }
    real, classes = parts["train"], training_set.classes
    config = ClassifierConfig(size=generator.size, epochs=EPOCHS, lr=0.01, cosine=True)
    training = TrainConfig.make(kind, "phantom", preset, **overrides).training.model_dump()
    options = {"guidance": training["guidance"]} if "guidance" in training else {}
    generated = generated_like(generator, real, classes, **options)
    scorer = train_scorer(config, real, classes, SEED)
    scores = {
        c: class_scores(scorer, generated, real, parts["test"], n, dataset.symmetries)
        for n, c in enumerate(classes)
    }
    f1 = {
        "generated": macro_f1(config, generated, parts, len(classes)),
        "real": macro_f1(config, real, parts, len(classes)),
    }
    label_accuracy = min(s["label_accuracy"] for s in scores.values())
    coverage = min(s["coverage"] for s in scores.values())
    copies = max(s["copies"] for s in scores.values())
    return report(
        claim=f"macro-F1 of a classifier trained on images of {kind} ({preset}) alone, against "
        "one trained on equally many real ones",
        ours=round(f1["generated"], 4),
        theirs=round(f1["real"], 4),
        unit="macro-F1",
        ratio=round(f1["generated"] / f1["real"], 3),
        target=TARGETS[kind],
        target_met=f1["generated"] >= TARGETS[kind] * f1["real"],
        guards={
            "label_accuracy": Guard(round(label_accuracy, 4), label_accuracy >= LABEL_ACCURACY),
            "coverage": Guard(round(coverage, 4), coverage >= COVERAGE),
            "copies": Guard(round(copies, 4), copies <= COPIES),
        },
        classes={c: {k: round(v, 3) for k, v in s.items()} for c, s in scores.items()},
        counts=training_set.counts,
        seed=SEED,
        **options,
    )


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "bagan-gp"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        preset = sys.argv[3] if len(sys.argv) > 3 else "small"
        sys.exit(main(kind, folder, preset, parse_overrides(sys.argv[4:])))
