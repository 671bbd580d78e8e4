"""The test images that one arm classifies correctly and another does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rebalance_core.comparison.records import CellRecord, read_compared_seeds
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.training_sets.load import part_labels
from rebalance_core.training_sets.resolve import TrainingSet, read_set


@dataclass(frozen=True)
class Disagreement:
    """A test image that two arms classify differently.

    `first` and `second` are the shares of seeds, 0 to 1, at which each arm classified it correctly.
    """

    image: str
    label: str
    first: float
    second: float
    seeds: int  # common to both arms, with the image in their test split


def read_training_sets(run: Path) -> dict[int, TrainingSet]:
    """{seed: training set} of a comparison, as saved when the run started."""
    seeds = read_compared_seeds(run)
    if not seeds.redraw:
        return dict.fromkeys(seeds.seeds, read_set(run / "set.json"))
    return {seed: read_set(run / f"set-{seed}.json") for seed in seeds.seeds}


def find_disagreements(
    cells: Sequence[CellRecord],
    sets: Mapping[int, TrainingSet],
    dataset: Dataset,
    first: str,
    second: str,
) -> tuple[list[Disagreement], int]:
    """Find the test images on which two arms (by `variant_name`) differ over their common seeds.

    Returns them, those that only `first` classifies correctly before the others, and the number of
    images tested. Each seed's predictions are compared with the labels of its own test images.
    """
    correct = {name: _correct_images(cells, sets, dataset, name) for name in (first, second)}
    seeds = sorted(correct[first].keys() & correct[second].keys())
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for seed in seeds:
        for image, is_correct in correct[first][seed].items():
            pairs.setdefault(image, []).append((is_correct, correct[second][seed][image]))
    labels = dataset.catalogue["class"].to_numpy()
    disagreements = []
    for image, results in pairs.items():
        shares = np.mean(results, axis=0)
        if shares[0] != shares[1]:
            label = str(labels[dataset.rows[image]])
            disagreements.append(
                Disagreement(image, label, float(shares[0]), float(shares[1]), len(results))
            )
    return sorted(disagreements, key=lambda d: d.second - d.first), len(pairs)


def confused_images(
    cells: Sequence[CellRecord],
    sets: Mapping[int, TrainingSet],
    dataset: Dataset,
    name: str,
    true: str,
    predicted: str,
) -> dict[str, tuple[int, int]]:
    """The test images of one cell of a row's confusion matrix, the most frequent first.

    {image of class `true`: (seeds that predicted `predicted`, seeds that tested it)}
    """
    counts: dict[str, tuple[int, int]] = {}
    for by_image in _predictions(cells, sets, dataset, name).values():
        for image, (label, prediction) in by_image.items():
            if label == true:
                hits, tested = counts.get(image, (0, 0))
                counts[image] = hits + (prediction == predicted), tested + 1
    found = {image: pair for image, pair in counts.items() if pair[0]}
    return dict(sorted(found.items(), key=lambda item: -item[1][0] / item[1][1]))


def _correct_images(
    cells: Sequence[CellRecord], sets: Mapping[int, TrainingSet], dataset: Dataset, name: str
) -> dict[int, dict[str, bool]]:
    """{seed: {test image: whether the arm classified it correctly}}."""
    return {
        seed: {image: label == predicted for image, (label, predicted) in by_image.items()}
        for seed, by_image in _predictions(cells, sets, dataset, name).items()
    }


def _predictions(
    cells: Sequence[CellRecord], sets: Mapping[int, TrainingSet], dataset: Dataset, name: str
) -> dict[int, dict[str, tuple[str, str]]]:
    """{seed: {test image: (its class, the predicted class)}} of a row.

    Raises UserError where predictions are not those of the test images.
    """
    found = {}
    for cell in cells:
        if cell.label != name:
            continue
        if cell.seed not in sets:
            raise UserError(
                f"Cell {cell.cell} has seed {cell.seed}, which is not a seed of the comparison; "
                "remove its file and resume the comparison."
            )
        training_set = sets[cell.seed]
        labels = part_labels(dataset, training_set, "test")
        predictions = cell.best.test.predictions
        class_ids = range(len(training_set.classes))
        if len(predictions) != len(labels) or not all(p in class_ids for p in predictions):
            raise UserError(
                f"Cell {cell.cell} has predictions that are not those of the test images of "
                f"{training_set.name}; remove its file and resume the comparison."
            )
        predicted = [training_set.classes[class_id] for class_id in predictions]
        pairs = zip(training_set.test, labels, predicted, strict=True)
        found[cell.seed] = {image: (str(label), p) for image, label, p in pairs}
    return found
