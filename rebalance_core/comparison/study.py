"""The job that trains arms × schedules × seeds on one training set, cell by cell."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rebalance_core.comparison.amounts import capped, check_amount, resolve_amount
from rebalance_core.comparison.configs import BASELINE, CompareConfig
from rebalance_core.comparison.results import summarise
from rebalance_core.comparison.schedules import Schedule
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.training_set import Images, TrainingSet, load_part, open_set
from rebalance_core.errors import UserError
from rebalance_core.files import read_json, write_json
from rebalance_core.images import resize_stack
from rebalance_core.runs.run import RunDirectory
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic, synthetic_for
from rebalance_core.workspace import Workspace


@dataclass(frozen=True)
class Cell:
    """One arm under one schedule at one seed."""

    arm: str
    schedule: Schedule
    seed: int
    synthetic: str | None  # name of the synthetic set
    plan: dict[str, int]  # {class: images added}
    base: str  # hash of training set, synthetic set's provenance and classifier config

    @property
    def key(self) -> str:
        """The hash of all that the cell's numbers depend on; a finished cell is found by it."""
        told = [self.arm, str(self.schedule), self.seed, self.synthetic, self.plan, self.base]
        return _digest(told)

    @property
    def label(self) -> str:
        return self.arm if self.arm == BASELINE else f"{self.arm} {self.schedule.words}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def planned(config: CompareConfig, chosen: TrainingSet) -> dict[str, int]:
    """{class: images added}; in a balanced set, which has no minority, every class counts."""
    minority = chosen.minority or list(chosen.classes)
    plan = capped(resolve_amount(config.amount, chosen.counts, minority), config.cap)
    if not any(plan.values()) and set(config.arms) != {BASELINE}:
        raise UserError(
            f"Amount {config.amount} adds no image to training set {chosen.name}, whose classes "
            "are balanced; impose a skew, or name a number of images."
        )
    return plan


def resolve_cells(
    config: CompareConfig, chosen: TrainingSet, sets: Mapping[str, SyntheticSet]
) -> list[Cell]:
    """Every cell, seeds outermost; the baseline once a seed. Raises UserError before any work."""
    plan = planned(config, chosen)
    schedules = [Schedule.parse(text) for text in config.schedules]
    masks = [schedule.mask(config.classifier.epochs) for schedule in schedules]
    if len(set(masks)) != len(masks):
        raise UserError(
            f"Two of the schedules {', '.join(config.schedules)} are the same over "
            f"{config.classifier.epochs} epochs; leave one out or train longer."
        )
    cells = []
    shared = [chosen.to_json(), config.classifier.model_dump(mode="json")]
    for seed in config.seeds:
        for arm in config.arms:
            if arm == BASELINE:
                cells.append(Cell(arm, Schedule("always"), seed, None, {}, _digest(shared)))
                continue
            check_amount(plan, sets[arm].counts, sets[arm].name)
            base = _digest([*shared, sets[arm].provenance])
            cells += [Cell(arm, s, seed, sets[arm].name, plan, base) for s in schedules]
    return cells


def find_sets(
    workspace: Workspace, config: CompareConfig, chosen: TrainingSet
) -> dict[str, SyntheticSet]:
    """{arm: synthetic set} for the arms that need one, checked against the training set."""
    found: dict[str, SyntheticSet] = {}
    for arm in config.arms:
        if arm == BASELINE:
            continue
        if arm in config.synthetic:
            found[arm] = open_synthetic(workspace, config.synthetic[arm])
            found[arm].check_fits(chosen)
        else:
            found[arm] = synthetic_for(workspace, chosen, arm)
    return found


def check_compare(workspace: Workspace, config: CompareConfig) -> list[Cell]:
    """What a comparison will train; raises UserError for what cannot be done."""
    chosen = open_set(workspace, config.set)
    return resolve_cells(config, chosen, find_sets(workspace, config, chosen))


def compare_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = CompareConfig.build(**run.config)
    chosen, sets = _resolved(workspace, run, config)
    dataset = open_dataset(workspace, chosen.config.dataset)
    cells = resolve_cells(config, chosen, sets)
    write_json(run.result / "cells.json", [{"key": c.key, "label": c.label} for c in cells])
    size = config.classifier.size
    train, validation, test = (
        load_part(dataset, chosen, part, size, run.progress)
        for part in ("train", "validation", "test")
    )
    run_cells(run, config, cells, chosen, sets, (train, validation, test))
    results = summarise(chosen, config, [_finished(run, c) for c in cells])
    write_json(run.result / "results.json", results)
    from rebalance_core.comparison.report import write_report

    report = write_report(workspace, run.path)
    return {"set": chosen.name, "results": results["results"], "answer": results["answer"],
            "report": str(report)}  # fmt: skip


def run_cells(
    run: RunDirectory,
    config: CompareConfig,
    cells: list[Cell],
    chosen: TrainingSet,
    sets: Mapping[str, SyntheticSet],
    parts: tuple[Images, Images, Images],
) -> None:
    """Train what isn't finished; a cell interrupted halfway goes on from its last epoch."""
    from rebalance_core.comparison.classifier import CellData, train_classifier

    kept = run.restore() or {"cells": 0, "curve": []}
    epochs = config.classifier.epochs
    said = kept["cells"] * epochs + len(kept["curve"])  # lines that the checkpoint counts
    run.log(said, event="start")
    for number, cell in enumerate(cells):
        told = {
            "cell": cell.key,
            "arm": cell.arm,
            "schedule": str(cell.schedule),
            "seed": cell.seed,
        }

        def log(numbers: dict[str, Any], number: int = number, cell: Cell = cell,
                told: dict[str, Any] = told) -> None:  # fmt: skip
            step = number * epochs + numbers["epoch"]
            run.log(step, **told, **numbers)
            run.progress(step / (len(cells) * epochs), f"{cell.label}, seed {cell.seed}")

        path = run.result / "cells" / f"{cell.key}.json"
        if path.exists():
            # Finished before a kill that took its lines back: say them again, train nothing.
            for numbers in read_json(path)["curve"][max(0, said - number * epochs) :]:
                log(numbers)
            continue
        data = CellData(parts[0], _added(cell, chosen, sets, config), *parts[1:], chosen.classes)
        outcome = train_classifier(
            config.classifier, data, cell.schedule.mask(epochs), cell.seed, run, log=log,
            kept=kept if kept.get("cell") == cell.key else None,
            tag={"cell": cell.key, "cells": number},
        )  # fmt: skip
        write_json(path, {**told, "plan": cell.plan, "synthetic": cell.synthetic, **outcome})
        run.checkpoint({"cells": number + 1, "curve": []})


def _added(
    cell: Cell, chosen: TrainingSet, sets: Mapping[str, SyntheticSet], config: CompareConfig
) -> Images | None:
    """The first images by seed of each class, as many as planned, at the classifier's size."""
    if cell.synthetic is None:
        return None
    images, labels, ids = [], [], []
    for label, count in cell.plan.items():
        taken = sets[cell.arm].images(label, count)
        images.append(resize_stack(taken, config.classifier.size))
        labels += [chosen.classes.index(label)] * len(taken)
        ids += [f"{label}/{k}" for k in range(len(taken))]
    return Images(np.concatenate(images), np.array(labels, dtype=np.int64), tuple(ids))


def _resolved(
    workspace: Workspace, run: RunDirectory, config: CompareConfig
) -> tuple[TrainingSet, dict[str, SyntheticSet]]:
    """Training set and synthetic sets as they were when the run began."""
    path = run.path / "set.json"
    if not path.exists():
        chosen = open_set(workspace, config.set)
        found = find_sets(workspace, config, chosen)
        write_json(run.result / "synthetic.json", {arm: s.name for arm, s in found.items()})
        write_json(path, chosen.to_json())
    names = read_json(run.result / "synthetic.json")
    sets = {arm: open_synthetic(workspace, name) for arm, name in names.items()}
    return TrainingSet.from_json(read_json(path)), sets


def _finished(run: RunDirectory, cell: Cell) -> dict[str, Any]:
    outcome: dict[str, Any] = read_json(run.result / "cells" / f"{cell.key}.json")
    return outcome


def live_curves(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a comparison's metrics that hold an epoch of a cell."""
    return [m for m in metrics if "cell" in m]
