"""The job that trains arms × schedules × amounts × seeds on one training set, cell by cell.

Test predictions are a second pass, after all cells are trained and the primary arm is fixed.
"""

import io
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.comparison.arms import with_labels
from rebalance_core.comparison.cells import (
    Cell,
    CellInputs,
    find_finished,
    make_inputs,
    open_external,
    pretrained_hash,
    read_finished,
    resolve_cells,
    resolve_inputs,
    synthetic_key,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.controls import control_images
from rebalance_core.comparison.records import (
    CELL_FILE,
    CellIdentity,
    CellRecord,
    FailedCell,
    KeptClassifier,
    Planned,
    TrainedCell,
    read_cell,
    read_cells,
    read_failed_cell,
    read_kept_classifier,
    read_planned,
    read_planned_cells,
    read_synthetic_names,
    read_trained_cell,
)
from rebalance_core.comparison.results import choose_primary, summarise
from rebalance_core.comparison.scores import probabilities_path
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError, first_line
from rebalance_core.imaging.grid import resize_images
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import atomic_folder, remove_folder, write_bytes, write_json
from rebalance_core.training_sets.config import Part
from rebalance_core.training_sets.evaluations import record_evaluation
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import TrainingSet, read_set
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from models.classifier import Classifier

# Folder in `result/` with the best classifier on validation, in a folder named by its cell.
CLASSIFIERS = "classifiers"


def compare_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Train every unfinished cell, evaluate all on test, then write the results and the report."""
    config = CompareConfig.build(**run.config)
    inputs = inputs_of_run(workspace, run, config)
    weights = pretrained_hash(workspace, config)
    cells = resolve_cells(config, inputs, weights)
    dataset = open_dataset(workspace, inputs[config.seeds[0]].training_set.config.dataset)
    check_network(config.classifier, len(dataset.classes))
    planned = [CellIdentity(**cell.record).model_dump(mode="json") for cell in cells]
    write_json(run.result / "cells.json", planned)
    for each in inputs.values():
        record_evaluation(workspace, each.training_set, run.id)
    shutil.rmtree(run.result / "failed", ignore_errors=True)  # failed cells are trained again
    imagenet = weights is not None
    external = None
    if config.external is not None:
        base = inputs[config.seeds[0]].training_set
        external = open_external(workspace, config.external, base)
    mark = external.fingerprint if external else None
    train_cells(workspace, run, config, cells, inputs, dataset, imagenet=imagenet, external=mark)
    planned_test = fix_primary(workspace, run, config, cells)
    evaluate_cells(run, config, cells, inputs, dataset, external, imagenet=imagenet)
    paths = {cell.label: run.result / "failed" / f"{cell.key}.json" for cell in cells}
    failed = {label: read_failed_cell(path) for label, path in paths.items() if path.exists()}
    results = None
    if finished := read_cells(run.path):
        from rebalance_core.comparison.report import write_report

        results = summarise(
            workspace, run.id, config, inputs, finished, planned_test, failed=len(failed)
        )
        write_json(run.result / "results.json", results.model_dump(mode="json"))
        write_report(workspace, run.path, results)
    if failed:
        label, first = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(cells)} classifiers failed, first {label}: {first.reason} "
            "Resume trains these again; the others' results are kept."
        )
    assert results is not None  # there is at least one cell, and none failed
    return {
        "set": config.set,
        **results.model_dump(mode="json", include={"results", "answer"}),
        "report": str(run.result / "report.html"),
    }


def check_network(config: ClassifierConfig, classes: int) -> None:
    """Raise UserError if the network cannot be built or rejects images of the configured size."""
    import torch

    from models.classifier import Classifier

    problem = f"network {config.network!r} cannot be used"
    remedy = "name one of torchvision's classifiers, or module:function on the command line"
    try:
        model = Classifier(["?"] * classes, config.network).eval()
    except Exception as error:  # user code may raise anything
        raise UserError(f"The {problem} ({first_line(error)}); {remedy}.") from error
    try:
        with torch.no_grad():
            shape = model(torch.zeros(2, 3, config.size, config.size)).shape
    except Exception as error:
        raise UserError(
            f"The {problem} for images of {config.size} px ({first_line(error)}); "
            "choose a larger size or another."
        ) from error
    if tuple(shape) != (2, classes):
        raise UserError(
            f"The {problem}: its output for two images has shape {tuple(shape)}; {remedy}."
        )


def train_cells(
    workspace: Workspace,
    run: RunDirectory,
    config: CompareConfig,
    cells: list[Cell],
    inputs: Mapping[int, CellInputs],
    dataset: Dataset,
    *,
    imagenet: bool,
    external: str | None = None,
) -> None:
    """Train the unfinished cells; an interrupted cell continues from its last epoch."""
    from rebalance_core.classifiers.training import CellFailed

    state = run.restore() or {"cells": 0, "curve": []}
    epochs = config.classifier.epochs
    logged = state["cells"] * epochs + len(state["curve"])  # lines that the checkpoint covers
    run.log(logged, event="start")
    parts: tuple[TrainingSet, tuple[Images, Images, Images | None]] | None = None
    for number, cell in enumerate(cells):

        def log(metrics: dict[str, Any], number: int = number, cell: Cell = cell) -> None:
            step = number * epochs + metrics["epoch"]
            run.log(step, **cell.record, **metrics)
            run.progress(step / (len(cells) * epochs), f"{cell.label}, seed {cell.seed}")

        record = load_trained(workspace, run, config, cell, external)
        if record is not None:
            # Finished before a kill truncated its lines, or by another comparison: only log them.
            for epoch in record.curve[max(0, logged - number * epochs) :]:
                log({k: v for k, v in epoch.model_dump().items() if not k.startswith("test_")})
            continue
        cell_inputs = inputs[cell.seed]
        if parts is None or parts[0] is not cell_inputs.training_set:
            parts = (
                cell_inputs.training_set,
                load_parts(dataset, cell_inputs.training_set, config, run),
            )
        try:
            outcome, weights = _trained_without(run.path, cell) or train_cell(
                workspace,
                run,
                config,
                cell,
                cell_inputs,
                parts[1],
                imagenet=imagenet,
                log=log,
                resume_state=state if state.get("cell") == cell.key else None,
                number=number,
            )
            _adjust_validation(config, cell, cell_inputs, outcome, weights, parts[1][1], imagenet)
        except CellFailed as error:
            failure = FailedCell(**cell.record, reason=str(error))
            write_json(run.result / "failed" / f"{cell.key}.json", failure.model_dump(mode="json"))
            print(f"{cell.label}, seed {cell.seed} failed: {error}")
        else:
            record = TrainedCell.model_validate(
                {**cell.record, "plan": cell.plan, "synthetic": cell.synthetic, **outcome}
            )
            if cell.arm.recipe.has_own_training:  # the network alone predicts otherwise
                save_if_best(
                    run, config, record, cell_inputs, weights, dataset.channels, imagenet=imagenet
                )
            save_trained(run.path, record, weights)
        run.checkpoint({"cells": number + 1, "curve": []})


def _trained_without(run: Path, cell: Cell) -> "tuple[dict[str, Any], dict[str, Tensor]] | None":
    """The same cell without adjusted predictions, if this run has trained it."""
    from safetensors.torch import load_file

    plain = replace(cell.arm, recipe=replace(cell.arm.recipe, prediction="as-is", views="one"))
    if plain == cell.arm:
        return None
    path = trained_path(run, replace(cell, arm=plain).key)
    if not (path.exists() and path.with_suffix(".safetensors").exists()):
        return None
    outcome = read_trained_cell(path).model_dump(include={"best", "curve", "seconds"})
    return outcome, load_file(path.with_suffix(".safetensors"))


def _prior(cell: Cell, inputs: CellInputs, epochs: int) -> list[int] | None:
    """Training images per class in the last epoch; None if predictions are not adjusted."""
    if cell.arm.recipe.prediction == "as-is":
        return None
    added = cell.plan if cell.schedule.epochs(epochs)[-1] != "real" else {}
    training_set = inputs.training_set
    return [training_set.counts[c] + added.get(c, 0) for c in training_set.classes]


def _adjust_validation(
    config: CompareConfig,
    cell: Cell,
    inputs: CellInputs,
    outcome: dict[str, Any],
    weights: "dict[str, Tensor]",
    validation: Images,
    imagenet: bool,
) -> None:
    """Replace the validation score of the chosen epoch by that of the recipe's predictions."""
    if cell.arm.recipe.has_own_training:
        return
    prior, views = _prior(cell, inputs, config.classifier.epochs), cell.arm.recipe.views
    from models.classifier import Classifier
    from rebalance_core.classifiers.metrics import macro_f1
    from rebalance_core.classifiers.training import predict_rounded

    classes = list(inputs.training_set.classes)
    model = Classifier(classes, config.classifier.network, imagenet)
    model.load_state_dict(weights)
    precision = config.classifier.precision
    probabilities = predict_rounded(model, validation.images, precision, prior, views)
    score = macro_f1(probabilities.astype(np.float32), validation.labels)
    outcome["best"] = {**outcome["best"], "validation_macro_f1": score}


def cell_path(run: Path, key: str) -> Path:
    return run / "result" / "cells" / f"{key}.json"


def trained_path(run: Path, key: str) -> Path:
    """The record of a trained cell; its weights are beside it, until it is evaluated on test."""
    return run / "result" / "trained" / f"{key}.json"


def save_trained(run: Path, record: TrainedCell, weights: "dict[str, Tensor]") -> None:
    """Keep a trained cell and the weights of its chosen epoch."""
    from safetensors.torch import save

    path = trained_path(run, record.cell)
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_bytes(path.with_suffix(".safetensors"), save(contiguous))
    write_json(path, record.model_dump(mode="json"))


def load_trained(
    workspace: Workspace,
    run: RunDirectory,
    config: CompareConfig,
    cell: Cell,
    external: str | None = None,
) -> TrainedCell | None:
    """Return a cell that this run has trained or, with reuse, another one has finished.

    A result of another run is copied into this one. `external`: fingerprint of the dataset that it
    has to be evaluated on too. None if the cell has to be trained.
    """
    path = cell_path(run.path, cell.key)
    record = read_finished(path, cell.key, config.test_every_epoch, external)
    if record is not None:
        return record
    trained = trained_path(run.path, cell.key)
    if trained.exists() and trained.with_suffix(".safetensors").exists():
        return read_trained_cell(trained)
    if not config.reuse:
        return None
    found = find_finished(workspace, cell.key, config.test_every_epoch, external)
    if found is None:
        return None
    names = {"amount": cell.amount, "synthetic": cell.synthetic}  # not part of the key
    record = found.model_copy(update=names)
    source = workspace.runs / str(record.taken_from)
    write_bytes(
        probabilities_path(run.path, cell.key), probabilities_path(source, cell.key).read_bytes()
    )
    write_json(path, record.model_dump(mode="json"))
    return record


def load_parts(
    dataset: Dataset, training_set: TrainingSet, config: CompareConfig, run: RunDirectory
) -> tuple[Images, Images, Images | None]:
    """Load the training and validation images at the classifier's size, and test if it is used."""

    def load(part: Part) -> Images:
        return load_part(dataset, training_set, part, config.classifier.size, run.progress)

    return load("train"), load("validation"), load("test") if config.test_every_epoch else None


def fix_primary(
    workspace: Workspace, run: RunDirectory, config: CompareConfig, cells: list[Cell]
) -> Planned:
    """What the comparison claims or not, stored before any test prediction is made."""
    path = run.result / "primary.json"
    if not path.exists():
        trained = [
            read_cell(cell_path(run.path, cell.key))
            if cell_path(run.path, cell.key).exists()
            else read_trained_cell(trained_path(run.path, cell.key))
            for cell in cells
            if cell_path(run.path, cell.key).exists() or trained_path(run.path, cell.key).exists()
        ]
        write_json(path, choose_primary(workspace, config, trained).model_dump(mode="json"))
    return read_planned(run.path)


def evaluate_cells(
    run: RunDirectory,
    config: CompareConfig,
    cells: list[Cell],
    inputs: Mapping[int, CellInputs],
    dataset: Dataset,
    external: Dataset | None,
    *,
    imagenet: bool,
) -> None:
    """Predict the test images with each trained cell's weights of the chosen epoch.

    And all images of the dataset `external`.
    """
    from safetensors.torch import load_file

    from models.classifier import Classifier
    from rebalance_core.classifiers.metrics import measure
    from rebalance_core.classifiers.training import predict_rounded

    loaded: tuple[TrainingSet, Images] | None = None
    for number, cell in enumerate(cells):
        trained = trained_path(run.path, cell.key)
        if cell_path(run.path, cell.key).exists() or not trained.exists():
            continue
        training_set = inputs[cell.seed].training_set
        if loaded is None or loaded[0] is not training_set:
            size = config.classifier.size
            loaded = training_set, load_part(dataset, training_set, "test", size, run.progress)
        images = loaded[1]
        model = Classifier(list(training_set.classes), config.classifier.network, imagenet)
        model.load_state_dict(load_file(trained.with_suffix(".safetensors")))
        prior = _prior(cell, inputs[cell.seed], config.classifier.epochs)
        precision, views = config.classifier.precision, cell.arm.recipe.views
        probabilities = predict_rounded(model, images.images, precision, prior, views)
        save_probabilities(run.path, cell.key, probabilities, images.ids)
        rare = [training_set.class_index(label) for label in training_set.minority]
        test = measure(probabilities.astype(np.float32), images.labels, rare)
        record = read_trained_cell(trained).model_dump(mode="json")
        record["best"] |= {"test": test}
        if external is not None:
            others = external_images(external, training_set, config.classifier.size)
            probabilities = predict_rounded(model, others.images, precision, prior, views)
            save_probabilities(run.path, f"{cell.key}-external", probabilities, others.ids)
            test = measure(probabilities.astype(np.float32), others.labels, rare)
            record["external"] = {"fingerprint": external.fingerprint, "test": test}
        evaluated = CellRecord.model_validate(record)
        write_json(cell_path(run.path, cell.key), evaluated.model_dump(mode="json"))
        trained.unlink()
        trained.with_suffix(".safetensors").unlink()
        run.progress((number + 1) / len(cells), "evaluating on test")
        if run.should_stop():
            raise Cancelled
    shutil.rmtree(run.result / "trained", ignore_errors=True)


def external_images(external: Dataset, training_set: TrainingSet, size: int) -> Images:
    """All images of another dataset, resized like those of the training set."""
    table = external.catalogue
    labels = np.array([training_set.class_index(c) for c in table["class"]], dtype=np.int64)
    images = external.array(size, fit=training_set.config.fit)
    return Images(images, labels, tuple(table["image"]))


def save_probabilities(
    run: Path, key: str, probabilities: np.ndarray, images: tuple[str, ...]
) -> None:
    """Keep float16 (n, K) and the n image ids of a cell's test predictions."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities, images=np.array(images))
    write_bytes(probabilities_path(run, key), buffer.getvalue())


def train_cell(
    workspace: Workspace,
    run: RunDirectory,
    config: CompareConfig,
    cell: Cell,
    inputs: CellInputs,
    parts: tuple[Images, Images, Images | None],
    *,
    imagenet: bool,
    log: Any,
    resume_state: dict[str, Any] | None,
    number: int,
) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Train and evaluate one cell; raises CellFailed if its loss or weights become non-finite."""
    from rebalance_core.classifiers.training import CellData, fresh_classifier, train_classifier

    classes = inputs.training_set.classes
    added = None
    if cell.arm.images is not None:
        added = added_images(inputs.synthetic[cell.arm.images], cell.plan, classes, parts[0])
    elif cell.arm.control is not None:
        added = control_images(workspace, cell, inputs, parts[0])

    def start() -> "Classifier":
        model = fresh_classifier(config.classifier, classes, cell.seed, imagenet=imagenet)
        if imagenet:
            from safetensors.torch import load_file

            from rebalance_core.poses.weights import weights_path

            model.load_pretrained(load_file(weights_path(workspace, config.classifier.network)))  # type: ignore[arg-type]
        return model

    return train_classifier(
        config.classifier,
        CellData(parts[0], added, *parts[1:], classes),
        cell.arm.recipe,
        cell.schedule,
        cell.seed,
        run,
        log=log,
        make_model=start,
        state=resume_state,
        tag={"cell": cell.key, "cells": number},
    )


def added_images(
    synthetic: SyntheticSet, plan: Mapping[str, int], classes: tuple[str, ...], real: Images
) -> Images:
    """Load the planned number of synthetic images per class, lowest seeds first.

    They are resized to the size of the real images.
    """
    images, labels, ids = [], [], []
    for label, count in plan.items():
        if not count:
            continue
        selected = synthetic.images(label, count)
        images.append(resize_images(selected, real.images.shape[1]))
        labels += [classes.index(label)] * len(selected)
        ids += [f"{label}/{k}" for k in range(len(selected))]
    return Images(np.concatenate(images), np.array(labels, dtype=np.int64), tuple(ids))


def save_if_best(
    run: RunDirectory,
    config: CompareConfig,
    record: TrainedCell,
    inputs: CellInputs,
    weights: "dict[str, Tensor]",
    channels: int,
    *,
    imagenet: bool,
) -> None:
    """Save the cell's classifier if its validation score is the best of the run so far."""
    from models.classifier import Classifier

    score = record.best.validation_macro_f1
    previous = best_classifier(run.path)
    if previous is not None and read_kept_classifier(previous).validation_macro_f1 >= score:
        return
    training_set = inputs.training_set
    model = Classifier(list(training_set.classes), config.classifier.network, imagenet)
    model.load_state_dict(weights)
    target = run.result / CLASSIFIERS / record.cell
    if target.exists():  # killed before the cell's file was written
        remove_folder(target)
    with atomic_folder(target) as temporary:
        model.save_pretrained(temporary)
        kept_record = KeptClassifier(
            **record.model_dump(include=set(CellIdentity.model_fields)),
            epoch=record.best.epoch,
            validation_macro_f1=score,
            set=training_set.name,
            size=config.classifier.size,
            channels=channels,
            run=run.id,
            fit=training_set.config.fit,
            dataset=training_set.config.dataset,
        )
        write_json(temporary / CELL_FILE, kept_record.model_dump(mode="json"))
    if previous is not None and previous != target:
        remove_folder(previous)


def best_classifier(run: Path) -> Path | None:
    """Folder of the kept classifier with the best validation score; None before one is kept."""
    folders = [path.parent for path in (run / "result" / CLASSIFIERS).glob(f"[!.]*/{CELL_FILE}")]
    return max(
        folders, key=lambda folder: read_kept_classifier(folder).validation_macro_f1, default=None
    )


def inputs_of_run(
    workspace: Workspace, run: RunDirectory, config: CompareConfig
) -> dict[int, CellInputs]:
    """{seed: inputs of its cells}, saved in the run when it first starts."""
    path, names = run.path / "set.json", run.result / "synthetic.json"
    if not (path.exists() and names.exists()):
        resolved = resolve_inputs(workspace, config)
        synthetic = {}
        for seed, inputs in resolved.items():
            for images, synthetic_set in inputs.synthetic.items():
                synthetic[synthetic_key(images, seed if config.redraw else None)] = (
                    synthetic_set.name
                )
            if config.redraw:
                write_json(_set_path(run.path, seed), inputs.training_set.to_json())
        write_json(names, synthetic)
        write_json(path, resolved[config.seeds[0]].training_set.to_json())
    if config.redraw:
        return {seed: _read_inputs(workspace, run.path, config, seed) for seed in config.seeds}
    return dict.fromkeys(config.seeds, _read_inputs(workspace, run.path, config, None))


def _set_path(run: Path, seed: int | None) -> Path:
    return run / ("set.json" if seed is None else f"set-{seed}.json")


def _read_inputs(
    workspace: Workspace, run: Path, config: CompareConfig, seed: int | None
) -> CellInputs:
    training_set = read_set(_set_path(run, seed))
    keys = {arm.images: synthetic_key(arm.images, seed) for arm in config.parsed if arm.images}
    names = read_synthetic_names(run, keys.values())
    synthetic = {images: open_synthetic(workspace, names[key]) for images, key in keys.items()}
    return make_inputs(workspace, config, training_set, synthetic)


def live_curves(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select the metrics lines with an epoch of a cell, each with its `label`.

    Of a cell that failed and was trained again, the later lines are returned.
    """
    lines = with_labels(m for m in metrics if _is_epoch(m))
    latest = {(line["cell"], line["epoch"]): line for line in lines}
    return sorted(latest.values(), key=lambda m: float(m.get("time", 0.0)))


def curves(run: Path) -> list[dict[str, Any]]:
    """The curves of a comparison: while it runs, training and validation only; then test as well.

    Test measures exist for every epoch only if the config asks for them.
    """
    lines = live_curves(read_metrics(run))
    if not (run / "result" / "results.json").exists():
        return lines
    tested = {
        (cell.cell, epoch.epoch): {
            k: v for k, v in epoch.model_dump().items() if k.startswith("test_") and v is not None
        }
        for cell in read_cells(run)
        for epoch in cell.curve
    }
    return [{**line, **tested.get((line["cell"], line["epoch"]), {})} for line in lines]


def _is_epoch(line: Mapping[str, Any]) -> bool:
    """Whether a metrics line is an epoch of a cell with fields of the right types."""
    has_text = all(isinstance(line.get(key), str) for key in ("cell", "arm", "schedule"))
    amount = line.get("amount")
    return has_text and isinstance(line.get("epoch"), int) and isinstance(amount, str | None)


def cell_states(
    run: Path, lines: list[dict[str, Any]]
) -> tuple[list[CellIdentity], dict[str, str]]:
    """The planned cells, and {cell: `waiting`, `training`, `done` or `failed`}."""
    cells = read_planned_cells(run)
    states = {}
    started = {line["cell"] for line in lines}
    for key in (cell.cell for cell in cells):
        if cell_path(run, key).exists() or trained_path(run, key).exists():
            states[key] = "done"
        elif (run / "result" / "failed" / f"{key}.json").exists():
            states[key] = "failed"
        else:
            states[key] = "training" if key in started else "waiting"
    return cells, states
