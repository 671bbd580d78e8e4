"""The test images that one arm gets right and another wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.comparison.arms import variant_name
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.training_set import TrainingSet
from rebalance_core.files import read_json


@dataclass(frozen=True)
class Disagreement:
    """Share of the seeds, 0 to 1, at which each of two arms got a test image right."""

    image: str
    label: str
    first: float
    second: float


def cells_of(run: Path) -> list[dict[str, Any]]:
    """What a comparison tells of its finished cells, in the order in which it resolved them."""
    listed = run / "result" / "cells.json"
    keys = [c["cell"] for c in read_json(listed)] if listed.exists() else []
    paths = [run / "result" / "cells" / f"{key}.json" for key in keys]
    return [read_json(path) for path in paths if path.exists()]


def disagreements(
    cells: Sequence[dict[str, Any]],
    chosen: TrainingSet,
    dataset: Dataset,
    first: str,
    second: str,
) -> list[Disagreement]:
    """Test images on which two arms (by `variant_name`) differ, over the seeds that both have;
    those that only `first` gets right come first."""
    right = {}
    truth = np.array([chosen.classes.index(c) for c in _labels(dataset, chosen.test)])
    for name in (first, second):
        right[name] = {
            c["seed"]: np.array(c["best"]["test"]["predictions"]) == truth
            for c in cells
            if variant_name(c) == name
        }
    seeds = sorted(right[first].keys() & right[second].keys())
    if not seeds:
        return []
    shares = {name: np.mean([right[name][s] for s in seeds], axis=0) for name in right}
    apart = shares[first] - shares[second]
    order = [int(k) for k in np.argsort(-apart, kind="stable") if apart[k]]
    labels = _labels(dataset, chosen.test)
    return [
        Disagreement(chosen.test[k], labels[k], float(shares[first][k]), float(shares[second][k]))
        for k in order
    ]


def _labels(dataset: Dataset, images: Sequence[str]) -> list[str]:
    labels = dataset.catalogue["class"].to_numpy()
    return [str(labels[dataset.rows[i]]) for i in images]
