"""The job that trains arms × schedules × amounts × seeds on one training set, cell by cell."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.comparison.arms import labelled
from rebalance_core.comparison.cells import (
    Cell,
    Ground,
    find_finished,
    find_grounds,
    is_finished,
    make_ground,
    of_seed,
    pretrained,
    resolve_cells,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.disagreements import cells_of
from rebalance_core.comparison.records import read_winner
from rebalance_core.comparison.results import summarise
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError, first_line
from rebalance_core.imaging.grid import resize_images
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import atomic_folder, read_json, remove_folder, write_json
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import TrainingSet, read_set
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from models.classifier import Classifier

WINNERS = "classifiers"  # folder in `result/`, with one folder: what was best on validation
CELL = "cell.json"  # in that: which cell it is of


def compare_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = CompareConfig.build(**run.config)
    grounds = grounds_of_run(workspace, run, config)
    weights = pretrained(workspace, config)
    cells = resolve_cells(config, grounds, weights)
    dataset = open_dataset(workspace, grounds[config.seeds[0]].chosen.config.dataset)
    check_network(config.classifier, len(dataset.classes))
    write_json(run.result / "cells.json", [c.told | {"label": c.label} for c in cells])
    shutil.rmtree(run.result / "failed", ignore_errors=True)  # each has another chance
    run_cells(workspace, run, config, cells, grounds, dataset, imagenet=weights is not None)
    finished = cells_of(run.path)
    failed = {c.label: p for c in cells if (p := run.result / "failed" / f"{c.key}.json").exists()}
    if finished:
        from rebalance_core.comparison.report import write_report

        write_json(
            run.result / "results.json",
            summarise(workspace, config, grounds, finished, failed=len(failed)),
        )
        write_report(workspace, run.path)
    if failed:
        label, path = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(cells)} classifiers failed, first {label}: "
            f"{read_json(path)['reason']} Resume trains these again; the others' results are kept."
        )
    results = read_json(run.result / "results.json")
    return {
        "set": config.set,
        "results": results["results"],
        "answer": results["answer"],
        "report": str(run.result / "report.html"),
    }


def check_network(config: ClassifierConfig, classes: int) -> None:
    """Raises UserError if the network is not known or does not take images of this size."""
    import torch

    from models.classifier import Classifier

    used = f"network {config.network!r} cannot be used"
    mend = "name one of torchvision's classifiers, or module:function on the command line"
    try:
        model = Classifier(["?"] * classes, config.network).eval()
    except Exception as error:  # whatever foreign code raises
        raise UserError(f"The {used} ({first_line(error)}); {mend}.") from error
    try:
        with torch.no_grad():
            shape = model(torch.zeros(2, 3, config.size, config.size)).shape
    except Exception as error:
        raise UserError(
            f"The {used} for images of {config.size} px ({first_line(error)}); "
            "choose a larger size or another."
        ) from error
    if tuple(shape) != (2, classes):
        raise UserError(f"The {used}: it gives {tuple(shape)} for two images; {mend}.")


def run_cells(
    workspace: Workspace,
    run: RunDirectory,
    config: CompareConfig,
    cells: list[Cell],
    grounds: Mapping[int, Ground],
    dataset: Dataset,
    *,
    imagenet: bool,
) -> None:
    """Train what isn't finished; a cell interrupted halfway goes on from its last epoch."""
    from rebalance_core.classifiers.training import CellFailed

    kept = run.restore() or {"cells": 0, "curve": []}
    epochs = config.classifier.epochs
    said = kept["cells"] * epochs + len(kept["curve"])  # lines that the checkpoint counts
    run.log(said, event="start")
    parts: tuple[TrainingSet, tuple[Images, Images, Images]] | None = None
    for number, cell in enumerate(cells):

        def log(numbers: dict[str, Any], number: int = number, cell: Cell = cell) -> None:
            step = number * epochs + numbers["epoch"]
            run.log(step, **cell.told, **numbers)
            run.progress(step / (len(cells) * epochs), f"{cell.label}, seed {cell.seed}")

        path = run.result / "cells" / f"{cell.key}.json"
        there = path if is_finished(path, cell.key) else None  # a damaged one is trained again
        if there is None and config.reuse and (there := find_finished(workspace, cell.key)):
            write_json(path, read_json(there) | {"taken_from": there.parents[2].name})
        if there is not None:
            # Finished before a kill that took its lines back, or by another comparison: say the
            # lines, train nothing.
            for numbers in read_json(there)["curve"][max(0, said - number * epochs) :]:
                log(numbers)
            continue
        ground = grounds[cell.seed]
        if parts is None or parts[0] is not ground.chosen:
            parts = ground.chosen, load_parts(dataset, ground.chosen, config, run)
        try:
            outcome, weights = train_cell(
                workspace,
                run,
                config,
                cell,
                ground,
                parts[1],
                imagenet=imagenet,
                log=log,
                kept=kept if kept.get("cell") == cell.key else None,
                number=number,
            )
        except CellFailed as error:
            write_json(
                run.result / "failed" / f"{cell.key}.json", cell.told | {"reason": str(error)}
            )
            print(f"{cell.label}, seed {cell.seed} failed: {error}")
        else:
            keep_winner(
                run,
                config,
                cell,
                ground,
                outcome,
                weights,
                channels=dataset.channels,
                imagenet=imagenet,
            )
            about = cell.told | {"plan": cell.plan, "synthetic": cell.synthetic}
            write_json(path, about | outcome)
        run.checkpoint({"cells": number + 1, "curve": []})


def load_parts(
    dataset: Dataset, chosen: TrainingSet, config: CompareConfig, run: RunDirectory
) -> tuple[Images, Images, Images]:
    """Training, validation and test images at the classifier's size."""
    train, validation, test = (
        load_part(dataset, chosen, part, config.classifier.size, run.progress)
        for part in ("train", "validation", "test")
    )
    return train, validation, test


def train_cell(
    workspace: Workspace,
    run: RunDirectory,
    config: CompareConfig,
    cell: Cell,
    ground: Ground,
    parts: tuple[Images, Images, Images],
    *,
    imagenet: bool,
    log: Any,
    kept: dict[str, Any] | None,
    number: int,
) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """One cell from its images to its numbers; raises CellFailed where it comes to nothing."""
    from rebalance_core.classifiers.training import CellData, fresh_classifier, train_classifier

    classes = ground.chosen.classes
    added = None
    if cell.arm.images is not None:
        added = added_images(ground.sets[cell.arm.images], cell.plan, classes, parts[0])

    def start() -> "Classifier":
        made = fresh_classifier(config.classifier, classes, cell.seed, imagenet=imagenet)
        if imagenet:
            from safetensors.torch import load_file

            from rebalance_core.poses.weights import weights_path

            made.load_pretrained(load_file(weights_path(workspace, config.classifier.network)))  # type: ignore[arg-type]
        return made

    return train_classifier(
        config.classifier,
        CellData(parts[0], added, *parts[1:], classes),
        cell.arm.recipe,
        cell.schedule,
        cell.seed,
        run,
        log=log,
        start=start,
        kept=kept,
        tag={"cell": cell.key, "cells": number},
    )


def added_images(
    synthetic: SyntheticSet, plan: Mapping[str, int], classes: tuple[str, ...], real: Images
) -> Images:
    """The first images by seed of each class, as many as planned, at the real images' size."""
    images, labels, ids = [], [], []
    for label, count in plan.items():
        if not count:
            continue
        taken = synthetic.images(label, count)
        images.append(resize_images(taken, real.images.shape[1]))
        labels += [classes.index(label)] * len(taken)
        ids += [f"{label}/{k}" for k in range(len(taken))]
    return Images(np.concatenate(images), np.array(labels, dtype=np.int64), tuple(ids))


def keep_winner(
    run: RunDirectory,
    config: CompareConfig,
    cell: Cell,
    ground: Ground,
    outcome: dict[str, Any],
    weights: "dict[str, Tensor]",
    *,
    channels: int,
    imagenet: bool,
) -> None:
    """Keep this cell's classifier if none trained in this run did better on validation."""
    from models.classifier import Classifier

    score = outcome["best"]["validation_macro_f1"]
    before = winner(run.path)
    if before is not None and read_winner(before / CELL)["validation_macro_f1"] >= score:
        return
    model = Classifier(list(ground.chosen.classes), config.classifier.network, imagenet)
    model.load_state_dict(weights)
    target = run.result / WINNERS / cell.key
    if target.exists():  # a kill came between this and the cell's own file
        remove_folder(target)
    with atomic_folder(target) as aside:
        model.save_pretrained(aside)
        write_json(
            aside / CELL,
            cell.told
            | {
                "label": cell.label,
                "validation_macro_f1": score,
                "epoch": outcome["best"]["epoch"],
                "set": ground.chosen.name,
                "size": config.classifier.size,
                "channels": channels,
                "run": run.id,
                "fit": ground.chosen.config.fit,
                "dataset": ground.chosen.config.dataset,
            },
        )
    if before is not None and before != target:
        remove_folder(before)


def winner(run: Path) -> Path | None:
    """The folder of the classifier that was best on validation, of those a comparison trained."""
    found = [p.parent for p in (run / "result" / WINNERS).glob(f"[!.]*/{CELL}")]
    return max(found, key=lambda p: read_winner(p / CELL)["validation_macro_f1"], default=None)


def grounds_of_run(
    workspace: Workspace, run: RunDirectory, config: CompareConfig
) -> dict[int, Ground]:
    """What the cells stand on, as it was when the run began."""
    path = run.path / "set.json"
    if not path.exists():
        found = find_grounds(workspace, config)
        names = {}
        for seed, ground in found.items():
            for images, synthetic in ground.sets.items():
                names[of_seed(images, seed if config.redraw else None)] = synthetic.name
            if config.redraw:
                write_json(_set_path(run.path, seed), ground.chosen.to_json())
        write_json(run.result / "synthetic.json", names)
        write_json(path, found[config.seeds[0]].chosen.to_json())
    names = read_json(run.result / "synthetic.json")
    if config.redraw:
        return {s: _ground(workspace, run.path, config, s, names) for s in config.seeds}
    return dict.fromkeys(config.seeds, _ground(workspace, run.path, config, None, names))


def _set_path(run: Path, seed: int | None) -> Path:
    return run / ("set.json" if seed is None else f"set-{seed}.json")


def _ground(
    workspace: Workspace, run: Path, config: CompareConfig, seed: int | None, names: dict[str, str]
) -> Ground:
    chosen = read_set(_set_path(run, seed))
    sets = {}
    for images in {arm.images for arm in config.parsed if arm.images}:
        sets[images] = open_synthetic(workspace, names[of_seed(images, seed)])
    return make_ground(workspace, chosen, sets)


def live_curves(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a comparison's metrics that hold an epoch of a cell, each with its `label`; of
    a cell that failed and was trained again, the later ones."""
    lines = labelled(m for m in metrics if _is_epoch(m))
    latest = {(line["cell"], line["epoch"]): line for line in lines}
    return sorted(latest.values(), key=lambda m: float(m.get("time", 0.0)))


def _is_epoch(line: Mapping[str, Any]) -> bool:
    """Whether a line of metrics is one of a cell, and of the types that curves are drawn of."""
    words = all(isinstance(line.get(key), str) for key in ("cell", "arm", "schedule"))
    amount = line.get("amount")
    return words and isinstance(line.get("epoch"), int) and isinstance(amount, str | None)


def cell_states(
    run: Path, lines: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The cells that a comparison resolved, and how far each is: waiting, training, done or
    failed."""
    listed = run / "result" / "cells.json"
    cells = read_json(listed) if listed.exists() else []
    states = {}
    begun = {line["cell"] for line in lines}
    for key in (cell["cell"] for cell in cells):
        if (run / "result" / "cells" / f"{key}.json").exists():
            states[key] = "done"
        elif (run / "result" / "failed" / f"{key}.json").exists():
            states[key] = "failed"
        else:
            states[key] = "training" if key in begun else "waiting"
    return cells, states
