"""Claim: the switches that `quick`, `small` and `strong` turn on help BAGAN-GP on rare classes.

Each variant differs from all of them on in one (the original's three quirks count as one), trained
for the same number of steps at 32 px on the phantom from the same autoencoder, paired by seed, and
judged as `phantom_quality.py` judges, on the minority classes. Prints one JSON object a variant
and, last, the claim; exits 1 where a variant is better than all switches on.

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
from benchmarks.phantom_quality import by_class, generated_like, macro_f1
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
    "discriminator starts fresh": {"discriminator_start": "fresh"},
    "batches as they come": {"balanced": False},
    "no average": {"ema": 0.0},
    "with DiffAugment": {"augment": "diffaugment"},
}


def main(steps: int, seeds: tuple[int, ...]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        dataset = import_dataset(
            workspace, ImportConfig(name="phantom", source="phantom"), MemoryRun()
        )
        chosen = open_set(workspace, "phantom")
        size = BaganConfig.from_preset("quick").size
        data = load_training_data(dataset, chosen, size)
        parts = {"validation": data.validation, "test": load_part(dataset, chosen, "test", size)}
    config = ClassifierConfig(size=size, epochs=EPOCHS, lr=0.01, cosine=True)
    scorer = train_scorer(config, data.train, data.classes, 0)
    asked: dict[str, float] = {}
    for name, changes in VARIANTS.items():
        found = []
        for seed in seeds:
            began = time.perf_counter()
            training = BaganConfig.from_preset("quick", **BASE, steps=steps, seed=seed, **changes)
            made = BaganGenerator.fit(training, data, MemoryRun())
            minutes = (time.perf_counter() - began) / 60
            images = generated_like(made, data.train, data.classes)
            classes = [
                by_class(scorer, images, data.train, parts["test"], data.classes.index(c))
                for c in data.minority
            ]
            found.append(
                {
                    "as_asked": statistics.mean(c["as_asked"] for c in classes),
                    "least_as_asked": min(c["as_asked"] for c in classes),
                    "least_coverage": min(c["coverage"] for c in classes),
                    "copies": max(c["copies"] for c in classes),
                    "macro_f1_generated_alone": macro_f1(config, images, parts, len(data.classes)),
                    "minutes": minutes,
                }
            )
        asked[name] = statistics.mean(f["as_asked"] for f in found)
        means = {k: round(statistics.mean(f[k] for f in found), 3) for k in found[0]}
        print(json.dumps({"variant": name, "seeds": seeds, "steps": steps, **means}), flush=True)
    off = max(v for k, v in asked.items() if k != "all on")
    return report(
        claim="share of images that are of the minority class they were made for: all switches "
        "on, against the best variant with one changed",
        ours=round(asked["all on"], 3),
        theirs=round(off, 3),
        unit="share",
        ratio=round(asked["all on"] / off, 3),
        target=1.0,
        target_met=asked["all on"] >= off,
        guards={k: round(asked["all on"] - v, 3) for k, v in asked.items() if k != "all on"},
    )


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    sys.exit(main(steps, tuple(map(int, sys.argv[2:])) or SEEDS))
