"""The test images that one arm gets right and another wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.comparison.arms import variant_name
from rebalance_core.comparison.records import read_cell
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.records import read_record
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.load import part_labels
from rebalance_core.training_sets.resolve import TrainingSet, read_set


@dataclass(frozen=True)
class Disagreement:
    """Share of the seeds that tested an image, 0 to 1, at which each of two arms got it right."""

    image: str
    label: str
    first: float
    second: float
    seeds: int  # that both arms have and whose test split holds the image


def cells_of(run: Path) -> list[dict[str, Any]]:
    """The results of a comparison's finished cells, in the order in which it resolved them.

    Raises UserError for a damaged one.
    """
    listed = run / "result" / "cells.json"
    keys = [c["cell"] for c in read_json(listed)] if listed.exists() else []
    paths = [run / "result" / "cells" / f"{key}.json" for key in keys]
    return [read_cell(path) for path in paths if path.exists()]


def sets_of(run: Path) -> dict[int, TrainingSet]:
    """{seed: its training set} of a comparison, as it was when the run began."""
    config = read_record(run)["config"]
    if not config.get("redraw"):
        return dict.fromkeys(config["seeds"], read_set(run / "set.json"))
    return {seed: read_set(run / f"set-{seed}.json") for seed in config["seeds"]}


def disagreements(
    cells: Sequence[dict[str, Any]],
    sets: Mapping[int, TrainingSet],
    dataset: Dataset,
    first: str,
    second: str,
) -> tuple[list[Disagreement], int]:
    """Test images on which two arms (by `variant_name`) differ over the seeds that both have, and
    how many images these seeds tested; those that only `first` gets right come first.

    Each seed's predictions are compared with the labels of its own test images.
    """
    right = {name: _right_images(cells, sets, dataset, name) for name in (first, second)}
    seeds = sorted(right[first].keys() & right[second].keys())
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for seed in seeds:
        for image, got in right[first][seed].items():
            pairs.setdefault(image, []).append((got, right[second][seed][image]))
    labels = dataset.catalogue["class"].to_numpy()
    found = []
    for image, results in pairs.items():
        shares = np.mean(results, axis=0)
        if shares[0] != shares[1]:
            label = str(labels[dataset.rows[image]])
            found.append(
                Disagreement(image, label, float(shares[0]), float(shares[1]), len(results))
            )
    return sorted(found, key=lambda d: d.second - d.first), len(pairs)


def _right_images(
    cells: Sequence[dict[str, Any]], sets: Mapping[int, TrainingSet], dataset: Dataset, name: str
) -> dict[int, dict[str, bool]]:
    """{seed: {test image: whether the arm got it right}}"""
    right = {}
    for cell in cells:
        if variant_name(cell) != name:
            continue
        chosen = sets[cell["seed"]]
        labels = part_labels(dataset, chosen, "test")
        predicted = cell["best"]["test"]["predictions"]
        if len(predicted) != len(labels) or max(predicted) >= len(chosen.classes):
            raise UserError(
                f"Cell {cell['cell']} has predictions that are not those of the test images of "
                f"{chosen.name}; remove its file and resume the comparison."
            )
        answers = [chosen.classes[number] for number in predicted]
        pairs = zip(chosen.test, answers, labels, strict=True)
        right[int(cell["seed"])] = {image: a == label for image, a, label in pairs}
    return right
