"""The results of a comparison, computed from its finished cells."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.classifiers.measures import measures
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.answer import absence_sentence, answer_text
from rebalance_core.comparison.arms import Arm, is_remedy_generator
from rebalance_core.comparison.cells import CellInputs
from rebalance_core.comparison.config import PAPER_ACCURACY, CompareConfig
from rebalance_core.comparison.contrasts import is_gain_proven, with_contrasts
from rebalance_core.comparison.records import (
    STATISTICS,
    CellRecord,
    EpochRecord,
    Findings,
    Results,
    Row,
    SetFacts,
    TestRecord,
    damaged,
    read_cells,
    read_stored_results,
)
from rebalance_core.comparison.statistics import interval, swing
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.health import unknown_patients_note
from rebalance_core.errors import UserError
from rebalance_core.runs.directory import code_version, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.training_sets.config import NO_SKEW_ALIASES
from rebalance_core.training_sets.load import missing_classes, part_counts
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

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


@dataclass(frozen=True)
class Origin:
    """Where a synthetic set's images come from; the defaults are those of a removed set."""

    generator: str | None = None
    is_unverified: bool = True  # whether the generator's training images are unverified


def summarise(
    workspace: Workspace,
    config: CompareConfig,
    inputs: Mapping[int, CellInputs],
    cells: Sequence[CellRecord],
    *,
    failed: int = 0,
) -> Results:
    """Compute the content of `results.json`: one row per arm, amount and schedule, and the answer.

    Test figures are those of the epoch with the best validation score; differences are paired by
    seed, in points of the primary measure. `sets` has one entry per seed with redraw, else a single
    one.
    """
    training_set = inputs[config.seeds[0]].training_set
    dataset = open_dataset(workspace, training_set.config.dataset)
    seeds = config.seeds if config.redraw else config.seeds[:1]
    sets = [set_facts(dataset, inputs[seed].training_set, seed) for seed in seeds]
    seconds = {
        synthetic.name: generator_seconds(workspace, synthetic.provenance)
        for seed in seeds
        for synthetic in inputs[seed].synthetic.values()
    }
    rows = [
        _with_generator_seconds(row, [seconds.get(name) for name in row.synthetic_sets])
        for row in make_rows(cells, read_origins(workspace, cells))
    ]
    absent = {facts.seed: facts.absent for facts in sets}
    findings = make_findings(
        rows,
        classes=list(training_set.classes),
        preset=config.preset,
        redraw=config.redraw,
        failed=failed,
        absent=absent,
        notes=result_notes(dataset, [inputs[seed] for seed in config.seeds]),
    )
    return Results(
        **dict(findings),
        set=config.set,
        training_set=training_set.config.model_dump(mode="json"),
        dataset=training_set.config.dataset,
        fingerprint=training_set.fingerprint,
        split=training_set.config.split,
        skew=training_set.config.skew,
        counts=training_set.counts,
        sets=sets,
        seeds=list(config.seeds),
        config=config.model_dump(mode="json"),
        statistics=STATISTICS,
        code=code_version(),
        machine=f"{platform.platform()}, {platform.processor() or platform.machine()}",
        versions={name: version(name) for name in VERSIONS},
    )


def make_findings(
    rows: list[Row], *, absent: Mapping[int, Sequence[str]], redraw: bool, failed: int, **facts: Any
) -> Findings:
    """Draw the conclusions from the rows; `absent` is {seed: classes without a test image}."""
    sentence = absence_sentence(absent, redraw)
    return Findings(
        redraw=redraw,
        failed=failed,
        results=rows,
        answer=answer_text(rows, redraw=redraw, failed=failed, absent=sentence),
        absent=sentence,
        proven_gain=is_gain_proven(rows),
        **facts,
    )


def result_notes(dataset: Dataset, inputs: Iterable[CellInputs]) -> list[str]:
    """Sentences on test, validation, poses and patients that a reader of the result should know.

    `inputs` are those of all seeds.
    """
    notes = []
    inputs = list(inputs)
    training_set = inputs[0].training_set
    if len(training_set.test_parts) > 1:
        parts = " and ".join(training_set.reserved)
        notes.append(
            f"Evaluated on part {training_set.test_part} of the test images, not on {parts}."
        )
    config = training_set.config
    if config.skew not in NO_SKEW_ALIASES:
        notes.append(
            "Validation is skewed like training."
            if config.validation_skew == "skewed"
            else "Validation was kept whole: epochs were selected on more images of the rare "
            "classes than training has."
        )
    notes += dict.fromkeys(
        note
        for each in inputs
        for synthetic in each.synthetic.values()
        if (note := synthetic.check_poses(each.training_set))
    )
    if patients := unknown_patients_note(dataset):
        notes.append(patients)
    return notes


def set_facts(dataset: Dataset, training_set: TrainingSet, seed: int) -> SetFacts:
    """Count the images of a training set by part and class."""
    return SetFacts(
        seed=seed,
        name=training_set.name,
        train=part_counts(dataset, training_set, "train"),
        validation=part_counts(dataset, training_set, "validation"),
        test=part_counts(dataset, training_set, "test"),
        absent=missing_classes(dataset, training_set, "test"),
    )


def read_origins(workspace: Workspace, cells: Iterable[CellRecord]) -> dict[str, Origin]:
    """{synthetic set: its origin}, for all sets that the cells use."""
    origins = {}
    for name in dict.fromkeys(cell.synthetic for cell in cells if cell.synthetic):
        origins[name] = Origin()
        with suppress(UserError):
            synthetic = open_synthetic(workspace, name)
            origins[name] = Origin(synthetic.generator, synthetic.unverified)
    return origins


def read_results(workspace: Workspace, run: Path) -> Findings | None:
    """Read the results of a comparison; None before any cell is finished.

    Results of another version, whose statistics may have been wrong, are computed again from the
    cells and marked `outdated`. Raises UserError for a damaged file.
    """
    path = run / "result" / "results.json"
    if not path.exists():
        return None
    stored = read_stored_results(path)
    if isinstance(stored, Results):
        return stored
    cells = [_remeasure(cell) for cell in read_cells(run)]
    if any(len(cell.best.test.confusion) != len(stored.classes) for cell in cells):
        raise damaged(path, "classes: they are not those of the cells")
    rows = [
        _with_generator_seconds(row, [stored.generator_seconds.get(row.name)])
        for row in make_rows(cells, read_origins(workspace, cells))
    ]
    findings = make_findings(
        rows,
        classes=stored.classes,
        preset=stored.preset,
        redraw=stored.redraw,
        failed=stored.failed,
        absent={cell.seed: _classes_without_images(cell, stored.classes) for cell in cells},
    )
    return findings.model_copy(update={"outdated": True})


def displayed_result(workspace: Workspace, view: RunView) -> dict[str, Any]:
    """The result of a run for display; of a comparison, with the current rows and answer."""
    if view.kind != "compare":
        return view.result
    try:
        findings = read_results(workspace, view.path)
    except UserError:  # damaged: the run itself is still displayed
        findings = None
    if findings is None:
        return view.result
    return view.result | findings.model_dump(mode="json", include={"results", "answer"})


def _classes_without_images(cell: CellRecord, classes: Sequence[str]) -> list[str]:
    """The classes without an image in a cell's test split."""
    confusion = cell.best.test.confusion
    return [label for label, line in zip(classes, confusion, strict=False) if not sum(line)]


def _remeasure(cell: CellRecord) -> CellRecord:
    """Recompute a cell's averages without the classes that have no test image.

    Earlier versions counted these classes.
    """
    test = cell.best.test
    confusion = np.array(test.confusion, dtype=float)
    correct, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = support > 0
    recall = correct[present] / support[present]
    precision = correct[present] / np.maximum(predicted[present], 1)
    f1 = 2 * correct[present] / (support[present] + predicted[present])
    corrected = test.model_copy(
        update={
            "measures": {
                **test.measures,
                "macro_f1": float(f1.mean()),
                "balanced_accuracy": float(recall.mean()),
                "auroc": test.measures.get("auroc") if present.all() else None,
            },
            "recall": _scatter(present, recall),
            "precision": _scatter(present, precision),
        }
    )
    return cell.model_copy(update={"best": cell.best.model_copy(update={"test": corrected})})


def _scatter(present: np.ndarray, values: np.ndarray) -> list[float | None]:
    """Place `values` where `present`, bool (K,), is true, and None elsewhere."""
    remaining = iter(values.tolist())
    return [next(remaining) if is_present else None for is_present in present]


def make_rows(
    cells: Sequence[CellRecord], origins: Mapping[str, Origin] | None = None
) -> list[Row]:
    """Make one row per arm, amount and schedule, in the order of the cells.

    `origins` maps synthetic sets to their origin.
    """
    groups: dict[tuple[str, str | None, str], list[CellRecord]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.amount, cell.schedule), []).append(cell)
    return with_contrasts([_row(group, origins or {}) for group in groups.values()])


def paper_figure(curve: Sequence[EpochRecord], epochs: int) -> float | None:
    """The paper's measure: best test accuracy of the first `epochs`; None if trained for fewer."""
    return None if len(curve) < epochs else _best_test_accuracy(curve[:epochs])


def _best_test_accuracy(curve: Iterable[EpochRecord]) -> float:
    return max(epoch.test_accuracy for epoch in curve)


def _row(group: Sequence[CellRecord], origins: Mapping[str, Origin]) -> Row:
    first = group[0]
    tests = [cell.best.test for cell in group]
    scores = [test.primary for test in tests]
    validation_scores = [cell.best.validation_macro_f1 for cell in group]
    names = list(dict.fromkeys(cell.synthetic for cell in group if cell.synthetic))
    generators = {_generator(name, first.arm, origins) for name in names}
    bounds = interval(scores)
    return Row(
        arm=first.arm,
        amount=first.amount,
        schedule=None if first.amount is None else first.schedule,
        name=first.label,
        seeds=[cell.seed for cell in group],
        added=first.plan,
        synthetic=first.synthetic,
        synthetic_sets=names,
        free=all(map(is_remedy_generator, generators)),
        unverified=any(origins[name].is_unverified for name in names if name in origins),
        epoch=[cell.best.epoch for cell in group],
        measures={key: _mean([test.measures.get(key) for test in tests]) for key in measures()},
        scores=scores,
        validation_macro_f1=float(np.mean(validation_scores)),
        validation_scores=validation_scores,
        macro_f1_std=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        macro_f1_interval=None if bounds is None else list(bounds),
        precision=_means_by_class([test.precision for test in tests]),
        recall=_means_by_class([test.recall for test in tests]),
        confusion=_total(tests),
        validation_swing=_mean(
            [swing([epoch.validation_accuracy for epoch in cell.curve]) for cell in group]
        ),
        last_test_accuracy=_mean([cell.curve[-1].test_accuracy for cell in group]),
        best_test_accuracy=float(np.mean([_best_test_accuracy(cell.curve) for cell in group])),
        best_test_accuracy_20_epochs=_mean([paper_figure(cell.curve, 20) for cell in group]),
        best_test_accuracy_30_epochs=_mean([paper_figure(cell.curve, 30) for cell in group]),
        paper_accuracy=PAPER_ACCURACY.get((first.arm, Schedule.parse(first.schedule).kind)),
        seconds=float(np.mean([cell.seconds for cell in group])),
    )


def _total(tests: Sequence[TestRecord]) -> list[list[int]]:
    """Sum the confusion matrices."""
    total: list[list[int]] = np.sum([test.confusion for test in tests], axis=0).tolist()
    return total


def _generator(synthetic: str, arm: str, origins: Mapping[str, Origin]) -> str | None:
    """The generator of a synthetic set; for a removed set, the word in the arm's name."""
    return origins[synthetic].generator if synthetic in origins else Arm.parse(arm).images


def _means_by_class(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Per class, the mean over the seeds with a test image of it."""
    columns = ([v for v in column if v is not None] for column in zip(*values, strict=True))
    return [float(np.mean(column)) if column else None for column in columns]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None without values or if any is None."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined and len(defined) == len(values) else None


def _with_generator_seconds(row: Row, seconds: Sequence[float | None]) -> Row:
    """Set a row's generator seconds, the mean over its synthetic sets.

    0 without a set, None if the seconds of any set are unknown.
    """
    return row.model_copy(update={"generator_seconds": _mean(seconds) if seconds else 0.0})


def generator_seconds(workspace: Workspace, provenance: Provenance) -> float | None:
    """Seconds for training, sampling and filtering; None if one of these runs was removed."""
    total = 0.0
    for run_id in (provenance.run, provenance.sample_run, *provenance.earlier_runs):
        if not run_id:
            return None
        try:
            state = view_run(find_run(workspace, run_id)).state
        except UserError:
            return None
        if state.finished is None or state.started is None:
            return None
        total += state.finished - state.started
    return total
