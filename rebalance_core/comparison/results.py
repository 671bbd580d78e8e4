"""From finished cells to the table and the answer in words."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.classifiers.measures import PRIMARY, measures
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.answer import absence_sentence, answer
from rebalance_core.comparison.arms import Arm, is_remedy_generator, variant_name
from rebalance_core.comparison.cells import Ground
from rebalance_core.comparison.config import PAPER_ACCURACY, CompareConfig
from rebalance_core.comparison.contrasts import Row, add_contrasts, proven_gain
from rebalance_core.comparison.disagreements import cells_of
from rebalance_core.comparison.records import check_results
from rebalance_core.comparison.statistics import interval, swing
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import code_version, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import Part
from rebalance_core.training_sets.load import missing_classes, part_counts
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

PAPER_EPOCHS = (20, 30)  # the paper's text speaks of both
STATISTICS = 2  # version of what follows from the cells; results of another are computed anew
VERSIONS = (
    "torch",
    "torchvision",
    "diffusers",
    "accelerate",
    "torchmetrics",
    "imbalanced-learn",
    "scikit-learn",
    "scipy",
    "numpy",
)


def summarise(
    workspace: Workspace,
    config: CompareConfig,
    grounds: Mapping[int, Ground],
    cells: list[dict[str, Any]],
    *,
    failed: int = 0,
) -> dict[str, Any]:
    """The content of `results.json`: a row per arm, amount and schedule, and the answer.

    Test figures are those of the epoch that validation chose; differences are paired by seed, in
    points of macro-F1 (0 to 100). `sets` has one entry per seed with redraw, else a single one.
    """
    chosen = grounds[config.seeds[0]].chosen
    dataset = open_dataset(workspace, chosen.config.dataset)
    drawn = config.seeds if config.redraw else config.seeds[:1]
    sets = [set_facts(dataset, grounds[seed].chosen, seed) for seed in drawn]
    spent = {
        found.name: generator_seconds(workspace, found.provenance)
        for seed in drawn
        for found in grounds[seed].sets.values()
    }
    rows = rows_of(cells, origins_of(workspace, cells))
    for row in rows:
        made = [spent.get(name) for name in row["synthetic_sets"]]
        row["generator_seconds"] = _mean(made) if made else 0.0
    return {
        "set": config.set,
        "training_set": chosen.config.model_dump(mode="json"),
        "dataset": chosen.config.dataset,
        "fingerprint": chosen.fingerprint,
        "split": chosen.config.split,
        "skew": chosen.config.skew,
        "classes": list(chosen.classes),
        "counts": chosen.counts,
        "sets": sets,
        "preset": config.preset,
        "seeds": list(config.seeds),
        "redraw": config.redraw,
        "failed": failed,
        "config": config.model_dump(mode="json"),
        **findings(rows, redraw=config.redraw, failed=failed, absent=absent_in(sets)),
        "code": code_version(),
        "machine": f"{platform.platform()}, {platform.processor() or platform.machine()}",
        "versions": {name: version(name) for name in VERSIONS},
    }


def findings(
    rows: list[Row], *, redraw: bool, failed: int, absent: Mapping[int, Sequence[str]]
) -> dict[str, Any]:
    """What follows from the rows: they themselves, the answer, whether it is a proven gain."""
    sentence = absence_sentence(absent, redraw)
    return {
        "results": rows,
        "answer": answer(rows, redraw=redraw, failed=failed, absent=sentence),
        "absent": sentence,
        "proven_gain": proven_gain(rows),
        "statistics": STATISTICS,
    }


def set_facts(dataset: Dataset, chosen: TrainingSet, seed: int) -> dict[str, Any]:
    """Sizes of the training set of one seed, by part and class."""
    parts: tuple[Part, ...] = ("train", "validation", "test")
    return {
        "seed": seed,
        "name": chosen.name,
        **{part: part_counts(dataset, chosen, part) for part in parts},
        "absent": missing_classes(dataset, chosen, "test"),
    }


def absent_in(sets: Iterable[Mapping[str, Any]]) -> dict[int, list[str]]:
    """{seed: classes without a test image}"""
    return {facts["seed"]: facts["absent"] for facts in sets}


def origins_of(
    workspace: Workspace, cells: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """{synthetic set: its generator, and whether what that was trained on is unverified}; of a set
    that is gone, nothing is known any more."""
    origins: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(cell["synthetic"] for cell in cells if cell["synthetic"]):
        origins[name] = {"generator": None, "unverified": True}
        with suppress(UserError):
            found = open_synthetic(workspace, name)
            origins[name] = {"generator": found.generator, "unverified": found.unverified}
    return origins


def read_results(workspace: Workspace, run: Path) -> dict[str, Any] | None:
    """The results of a comparison; None before any cell is finished.

    What another version wrote is computed again from the cells, since its statistics may have been
    wrong, and is `outdated`. Raises UserError for a damaged file.
    """
    path = run / "result" / "results.json"
    if not path.exists():
        return None
    stored = read_json(path)
    current = isinstance(stored, dict) and stored.get("statistics") == STATISTICS
    results = check_results(stored, path, current=current)
    if current:
        return results
    cells = [_measured_again(cell) for cell in cells_of(run)]
    rows = rows_of(cells, origins_of(workspace, cells))
    spent = {row.get("name"): row.get("generator_seconds") for row in results["results"]}
    for row in rows:
        row["generator_seconds"] = spent.get(row["name"])
    absent = {c["seed"]: _without_images(c, results["classes"]) for c in cells}
    found = findings(rows, redraw=results["redraw"], failed=results["failed"], absent=absent)
    return results | found | {"outdated": True}


def shown_result(workspace: Workspace, view: RunView) -> dict[str, Any]:
    """The result of any run as it is shown: of a comparison, with the rows and the answer of
    `read_results`."""
    if view.kind != "compare":
        return view.result
    try:
        results = read_results(workspace, view.path)
    except UserError:  # damaged: the run itself is still shown
        results = None
    if results is None:
        return view.result
    return view.result | {"results": results["results"], "answer": results["answer"]}


def _without_images(cell: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """The classes of which a cell's test split has no image."""
    confusion = cell["best"]["test"]["confusion"]
    return [label for label, line in zip(classes, confusion, strict=False) if not sum(line)]


def _measured_again(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell of an earlier version, whose averages counted classes without a test image."""
    test = cell["best"]["test"]
    confusion = np.array(test["confusion"], dtype=float)
    right, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    there = support > 0
    recall = right[there] / support[there]
    precision = right[there] / np.maximum(predicted[there], 1)
    f1 = 2 * right[there] / (support[there] + predicted[there])
    again = {
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float(recall.mean()),
        "recall": _at(there, recall),
        "precision": _at(there, precision),
        "auroc": test["auroc"] if there.all() else None,
    }
    return {**cell, "best": {**cell["best"], "test": {**test, **again}}}


def _at(there: np.ndarray, values: np.ndarray) -> list[float | None]:
    """`values` at the places that are there, None at the others."""
    left = iter(values.tolist())
    return [next(left) if each else None for each in there]


def rows_of(
    cells: list[dict[str, Any]], origins: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Row]:
    """One row per arm, amount and schedule, in the order in which they come; `origins` are those
    of the synthetic sets."""
    groups: dict[tuple[str, str | None, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["arm"], cell["amount"], cell["schedule"]), []).append(cell)
    rows = [_row(group, origins or {}) for group in groups.values()]
    add_contrasts(rows)
    return rows


def paper_figure(curve: list[dict[str, Any]], epochs: int) -> float | None:
    """The paper's own figure: best test accuracy of the first `epochs`; None if trained less."""
    if len(curve) < epochs:
        return None
    return float(max(e["test_accuracy"] for e in curve[:epochs]))


def _row(group: list[dict[str, Any]], origins: Mapping[str, Mapping[str, Any]]) -> Row:
    first = group[0]
    tests = [c["best"]["test"] for c in group]
    scores = [t[PRIMARY] for t in tests]
    validation = [c["best"]["validation_macro_f1"] for c in group]
    names = list(dict.fromkeys(c["synthetic"] for c in group if c["synthetic"]))
    generators = {_generator(name, first["arm"], origins) for name in names}
    figures = {
        f"best_test_accuracy_{n}_epochs": _mean([paper_figure(c["curve"], n) for c in group])
        for n in PAPER_EPOCHS
    }
    swings = [swing([e["validation_accuracy"] for e in c["curve"]]) for c in group]
    return {
        "arm": first["arm"],
        "amount": first["amount"],
        "schedule": None if first["amount"] is None else first["schedule"],
        "name": variant_name(first),
        "seeds": [c["seed"] for c in group],
        "added": first["plan"],
        "synthetic": first["synthetic"],
        "synthetic_sets": names,
        "free": all(map(is_remedy_generator, generators)),
        "unverified": any(origins.get(name, {}).get("unverified", False) for name in names),
        "epoch": [c["best"]["epoch"] for c in group],
        **{key: _mean([t.get(key) for t in tests]) for key in measures()},
        "scores": scores,
        "validation_macro_f1": _mean(validation),
        "validation_scores": validation,
        "macro_f1_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "macro_f1_interval": interval(scores),
        "precision": _means_by_class([t["precision"] for t in tests]),
        "recall": _means_by_class([t["recall"] for t in tests]),
        "confusion": np.sum([t["confusion"] for t in tests], axis=0).tolist(),
        "validation_swing": _mean(swings),
        "best_test_accuracy": float(
            np.mean([max(e["test_accuracy"] for e in c["curve"]) for c in group])
        ),
        **figures,
        "paper_accuracy": PAPER_ACCURACY.get((first["arm"], _kind(first["schedule"]))),
        "seconds": float(np.mean([c["seconds"] for c in group])),
    }


def _generator(synthetic: str, arm: str, origins: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The generator of a synthetic set; of one that is gone, the word in the arm's name."""
    return origins[synthetic]["generator"] if synthetic in origins else Arm.parse(arm).images


def _means_by_class(values: list[list[float | None]]) -> list[float | None]:
    """Mean over seeds for each class, of the seeds whose test split has the class."""
    columns = ([v for v in column if v is not None] for column in zip(*values, strict=True))
    return [float(np.mean(column)) if column else None for column in columns]


def _kind(schedule: str) -> str:
    return Schedule.parse(schedule).kind


def _mean(values: list[Any]) -> float | None:
    return None if not values or None in values else float(np.mean(values))


def generator_seconds(workspace: Workspace, provenance: Provenance) -> float | None:
    """Seconds that training the generator, sampling it and filtering took; None if a run of these
    is gone."""
    total = 0.0
    for run_id in (provenance.run, provenance.sample_run, *provenance.earlier_runs):
        if not run_id:
            return None
        try:
            state = view_run(find_run(workspace, run_id)).state
        except UserError:
            return None
        if state.get("finished") is None or state.get("started") is None:
            return None
        total += state["finished"] - state["started"]
    return total
