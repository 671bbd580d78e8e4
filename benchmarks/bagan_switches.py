"""Claim: the switches that `quick`, `small` and `strong` turn on help BAGAN-GP on rare classes.

Each variant changes one switch (the original's three quirks count as one). All are trained for the
same number of steps at 32 px on the phantom from the same autoencoder, paired by seed, and measured
as in `phantom_quality.py` on the minority classes. Prints one JSON object per variant and, last,
the claim; exits with 1 if a variant is better than all switches on.

`python benchmarks/bagan_switches.py [STEPS [SEED …]]`
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._report import report
from benchmarks.phantom_quality import class_scores, generated_like, macro_f1
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.features import train_scorer
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.bagan_gp.model import BaganGenerator
from rebalance_core.generators.base import load_training_data
from rebalance_core.runs.run import MemoryRun
from rebalance_core.training_sets.load import load_part
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

STEPS, SEEDS, EPOCHS = 350, (0,), 20
BASE: dict[str, Any] = {"autoencoder_steps": 300, "autoencoder_looks": 1, "looks": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "all on": {},
    "original's quirks": {
        "interpolation": "normal",
        "wrong_labels": "any",
        "fake_labels": "uniform",
    },
    "discriminator from random weights": {"discriminator_start": "fresh"},
    "unbalanced batches": {"balanced": False},
    "no averaged weights": {"ema": 0.0},
    "with DiffAugment": {"augment": "diffaugment"},
}


def main(steps: int, seeds: tuple[int, ...]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        dataset = import_dataset(
            workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun()
        )
        training_set = open_set(workspace, "phantom")
        size = BaganConfig.from_preset("quick").size
        data = load_training_data(dataset, training_set, size)
        test = load_part(dataset, training_set, "test", size)
    parts = {"validation": data.validation, "test": test}
    config = ClassifierConfig(size=size, epochs=EPOCHS, lr=0.01, cosine=True)
    scorer = train_scorer(config, data.train, data.classes, 0)
    accuracy: dict[str, float] = {}  # mean label accuracy of each variant
    for name, overrides in VARIANTS.items():
        results = []
        for seed in seeds:
            start = time.perf_counter()
            training = BaganConfig.from_preset("quick", **BASE, steps=steps, seed=seed, **overrides)
            generator = BaganGenerator.fit(training, data, MemoryRun())
            minutes = (time.perf_counter() - start) / 60
            images = generated_like(generator, data.train, data.classes)
            classes = [
                class_scores(
                    scorer, images, data.train, test, data.classes.index(c), dataset.symmetries
                )
                for c in data.minority
            ]
            results.append(
                {
                    "label_accuracy": statistics.mean(c["label_accuracy"] for c in classes),
                    "least_label_accuracy": min(c["label_accuracy"] for c in classes),
                    "least_coverage": min(c["coverage"] for c in classes),
                    "copies": max(c["copies"] for c in classes),
                    "macro_f1_generated_alone": macro_f1(config, images, parts, len(data.classes)),
                    "minutes": minutes,
                }
            )
        accuracy[name] = statistics.mean(r["label_accuracy"] for r in results)
        means = {k: round(statistics.mean(r[k] for r in results), 3) for k in results[0]}
        print(json.dumps({"variant": name, "seeds": seeds, "steps": steps, **means}), flush=True)
    best_variant = max(v for k, v in accuracy.items() if k != "all on")
    return report(
        claim="share of generated images classified as their minority class: all switches on, "
        "against the best variant with one changed",
        ours=round(accuracy["all on"], 3),
        theirs=round(best_variant, 3),
        unit="share",
        ratio=round(accuracy["all on"] / best_variant, 3),
        target=1.0,
        target_met=accuracy["all on"] >= best_variant,
        guards={k: round(accuracy["all on"] - v, 3) for k, v in accuracy.items() if k != "all on"},
    )


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    sys.exit(main(steps, tuple(map(int, sys.argv[2:])) or SEEDS))
