"""The results of a comparison, computed from its finished cells."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.classifiers.measures import PRIMARY, find_measure, measures
from rebalance_core.comparison.answer import absence_sentence, answer_text
from rebalance_core.comparison.arms import BASELINE, Arm, is_remedy_generator
from rebalance_core.comparison.cells import CellInputs
from rebalance_core.comparison.config import PAPER_ACCURACY, PAPER_COUNTS, CompareConfig
from rebalance_core.comparison.contrasts import (
    best_on_validation,
    is_gain_proven,
    make_claim,
    with_contrasts,
)
from rebalance_core.comparison.disagreements import read_training_sets
from rebalance_core.comparison.exchange import exchange_rates
from rebalance_core.comparison.paper import Measured, paper_findings
from rebalance_core.comparison.records import (
    STATISTICS,
    CellRecord,
    Claim,
    EpochRecord,
    ExchangeRate,
    ExternalFindings,
    Findings,
    Planned,
    Results,
    Row,
    SetFacts,
    TestRecord,
    TrainedCell,
    damaged,
    read_cells,
    read_planned,
    read_stored_results,
)
from rebalance_core.comparison.scores import (
    ArmScores,
    Score,
    TestImages,
    is_shared,
    read_probabilities,
    read_test_images,
    score_cell,
)
from rebalance_core.comparison.statistics import interval, swing
from rebalance_core.comparison.subsets import (
    class_masks,
    known_poses,
    near_masks,
    pose_masks,
    subset_gains,
)
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.duplicates import independent_units
from rebalance_core.datasets.health import unknown_patients_note
from rebalance_core.datasets.source import BUILT_IN
from rebalance_core.errors import UserError
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.runs.directory import code_version, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.training_sets.config import NO_SKEW_ALIASES
from rebalance_core.training_sets.load import leak_note, leaked_images, missing_classes, part_counts
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
    run: str,
    config: CompareConfig,
    inputs: Mapping[int, CellInputs],
    cells: Sequence[CellRecord],
    planned: Planned,
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
    training_sets = {seed: inputs[seed].training_set for seed in config.seeds}
    tests = read_test_images(dataset, training_sets)
    probabilities = read_probabilities(workspace.runs / run, cells)
    shared = is_shared(training_sets)
    scores = score_arms(cells, tests, shared, planned.measure, probabilities)
    rows = [
        _with_generator_seconds(row, [seconds.get(name) for name in row.synthetic_sets])
        for row in make_rows(
            cells,
            read_origins(workspace, cells),
            scores,
            planned,
            is_paper_data=is_paper_data(dataset),
        )
    ]
    absent = {facts.seed: facts.absent for facts in sets}
    claim = make_claim(rows, scores, planned)
    rates = exchange_rates(rows, scores, training_set)
    masks = {
        **class_masks(tests, training_set.classes),
        **pose_masks(dataset, training_sets, known_poses(dataset)),
        **near_masks(dataset, training_sets),
    }
    findings = make_findings(
        rows,
        claim,
        measure=planned.measure,
        subsets=subset_gains(cells, claim, tests, masks) if claim else [],
        exchange=rates,
        external=external_findings(workspace, config, training_set, cells, planned),
        classes=list(training_set.classes),
        preset=config.preset,
        redraw=config.redraw,
        failed=failed,
        absent=absent,
        rise=rise_of_baseline(cells),
        notes=result_notes(dataset, [inputs[seed] for seed in config.seeds]),
    )
    if config.preset == "paper":
        measured = measured_before(workspace, dataset, cells)
        lines = paper_findings(cells, measured, findings.proven_gain)
        findings = findings.model_copy(update={"paper": lines})
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


def measured_before(
    workspace: Workspace, dataset: Dataset, cells: Sequence[CellRecord]
) -> Measured:
    """The elbow of the current clustering, and the last losses of BAGAN-GP's autoencoder."""
    clusters, losses = None, None
    with suppress(UserError):
        clusters = open_clustering(dataset).record.elbow if has_clustering(dataset) else None
    for name in dict.fromkeys(cell.synthetic for cell in cells if cell.synthetic):
        with suppress(UserError):
            provenance = open_synthetic(workspace, name).provenance
            if provenance.run is None:
                continue
            lines = read_metrics(find_run(workspace, provenance.run))
            found = [
                [line[key] for line in lines if key in line]
                for key in ("autoencoder_mae", "autoencoder_mae_validation")
            ]
            if all(found):
                losses = float(found[0][-1]), float(found[1][-1])
    return Measured(clusters, losses)


def external_findings(
    workspace: Workspace,
    config: CompareConfig,
    training_set: TrainingSet,
    cells: Sequence[CellRecord],
    planned: Planned,
) -> ExternalFindings | None:
    """The same rows and claim on the external dataset; None without one."""
    if config.external is None:
        return None
    dataset = open_dataset(workspace, config.external)
    moved = [
        cell.model_copy(update={"best": cell.best.model_copy(update={"test": cell.external.test})})
        for cell in cells
        if cell.external is not None and cell.external.fingerprint == dataset.fingerprint
    ]
    if not moved:
        return None
    rare = tuple(training_set.class_index(label) for label in training_set.minority)
    images = TestImages(
        np.array([training_set.class_index(c) for c in dataset.catalogue["class"]], np.int64),
        np.unique(independent_units(dataset), return_inverse=True)[1],
        rare,
        len(training_set.train),
    )
    tests = dict.fromkeys(config.seeds, images)
    scores = score_arms(moved, tests, True, planned.measure)
    rows = make_rows(moved, read_origins(workspace, moved), scores, planned)
    claim = make_claim(rows, scores, planned)
    title = find_measure(planned.measure).title
    return ExternalFindings(
        dataset=dataset.name,
        images=len(dataset.catalogue),
        results=rows,
        claim=claim,
        answer=answer_text(rows, claim, redraw=config.redraw, title=title),
    )


def make_findings(
    rows: list[Row],
    claim: Claim | None = None,
    *,
    absent: Mapping[int, Sequence[str]],
    redraw: bool,
    failed: int,
    rise: float | None = None,
    measure: str = PRIMARY,
    exchange: Sequence[ExchangeRate] = (),
    **facts: Any,
) -> Findings:
    """Draw the conclusions from the rows; `absent` is {seed: classes without a test image}."""
    sentence = absence_sentence(absent, redraw)
    return Findings(
        redraw=redraw,
        failed=failed,
        results=rows,
        answer=answer_text(
            rows,
            claim,
            redraw=redraw,
            failed=failed,
            absent=sentence,
            rise=rise,
            title=find_measure(measure).title,
            exchange=exchange,
        ),
        absent=sentence,
        proven_gain=is_gain_proven(rows, claim),
        measure=measure,
        claim=claim,
        exchange=list(exchange),
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
    notes.append(leak_note(dataset, training_set, leaked_images(dataset, training_set)))
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


def read_origins(workspace: Workspace, cells: Iterable[TrainedCell]) -> dict[str, Origin]:
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
    planned = read_planned(run)
    scores = _scores_of_run(workspace, run, cells, planned.measure)
    rows = [
        _with_generator_seconds(row, [stored.generator_seconds.get(row.name)])
        for row in make_rows(cells, read_origins(workspace, cells), scores, planned)
    ]
    findings = make_findings(
        rows,
        make_claim(rows, scores, planned),
        measure=planned.measure,
        classes=stored.classes,
        preset=stored.preset,
        redraw=stored.redraw,
        failed=stored.failed,
        absent={cell.seed: _classes_without_images(cell, stored.classes) for cell in cells},
    )
    return findings.model_copy(update={"outdated": True})


def _scores_of_run(
    workspace: Workspace, run: Path, cells: Sequence[CellRecord], measure: str
) -> dict[str, ArmScores]:
    """The scores of a stored comparison; without test groups where its dataset is gone."""
    sets = read_training_sets(run)
    try:
        dataset = open_dataset(workspace, next(iter(sets.values())).config.dataset)
        return score_arms(
            cells,
            read_test_images(dataset, sets),
            is_shared(sets),
            measure,
            read_probabilities(run, cells),
        )
    except (UserError, KeyError):  # removed, or another version
        return score_arms(cells, measure=measure)


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


def choose_primary(
    workspace: Workspace, config: CompareConfig, cells: Sequence[TrainedCell]
) -> Planned:
    """The primary arm, by its name in the plan or by validation, and what makes it exploratory."""
    origins = read_origins(workspace, cells)
    scores: dict[str, dict[int, float]] = {}
    named: str | None = None
    for cell in cells:
        generator = cell.synthetic and _generator(cell.synthetic, cell.arm, origins)
        if cell.synthetic and not is_remedy_generator(generator):
            scores.setdefault(cell.label, {})[cell.seed] = cell.best.validation_macro_f1
            if named is None and config.primary in (cell.label, cell.arm):
                named = cell.label
    reused = {cell.seed for cell in cells if cell.taken_from}
    reasons = []
    if config.primary and named is None:
        reasons.append(f"the planned primary arm {config.primary} has no finished classifier")
    if named is None and reused:
        reasons.append(
            "the primary arm was chosen when test predictions of reused classifiers were known"
        )
    if reused and reused != {cell.seed for cell in cells}:
        reasons.append("seeds were added to an earlier comparison")
    return Planned(
        primary=named or best_on_validation(scores),
        rule="named" if named else "validation",
        measure=config.measure,
        margin=config.margin,
        against=config.against,
        exploratory=reasons,
    )


def score_arms(
    cells: Sequence[CellRecord],
    tests: Mapping[int, TestImages] | None = None,
    shared: bool = True,
    measure: str = PRIMARY,
    probabilities: Mapping[str, np.ndarray] | None = None,
) -> dict[str, ArmScores]:
    """{name of a row: its scores by seed}.

    `tests` are the test images of each seed, `shared` if all seeds have the same; `probabilities`
    are those of each cell, which measures other than of the confusion matrix need.
    """
    scored: dict[str, dict[int, Score]] = {}
    for cell in cells:
        images = (tests or {}).get(cell.seed)
        of_cell = (probabilities or {}).get(cell.cell)
        score = score_cell(cell, images, find_measure(measure), of_cell)
        scored.setdefault(cell.label, {})[cell.seed] = score
    overlap = None
    if tests and not shared:
        overlap = float(np.mean([len(t.labels) / t.training_images for t in tests.values()]))
    return {name: ArmScores(by_seed, overlap) for name, by_seed in scored.items()}


def make_rows(
    cells: Sequence[CellRecord],
    origins: Mapping[str, Origin] | None = None,
    scores: Mapping[str, ArmScores] | None = None,
    planned: Planned | None = None,
    *,
    is_paper_data: bool = False,
) -> list[Row]:
    """Make one row per arm, amount and schedule, in the order of the cells.

    `origins` maps synthetic sets to their origin, `scores` row names to scores (`score_arms`).
    """
    groups: dict[tuple[str, str | None, str], list[CellRecord]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.amount, cell.schedule), []).append(cell)
    rows = [_row(group, origins or {}, is_paper_data) for group in groups.values()]
    return with_contrasts(rows, scores or score_arms(cells), planned)


def paper_figure(curve: Sequence[EpochRecord], epochs: int) -> float | None:
    """The paper's measure: best test accuracy of the first `epochs`; None if trained for fewer."""
    return None if len(curve) < epochs else _best_test_accuracy(curve[:epochs])


def _best_test_accuracy(curve: Iterable[EpochRecord]) -> float | None:
    """The best of the epochs; None unless every epoch was evaluated on test."""
    values = [epoch.test_accuracy for epoch in curve]
    return max(v for v in values if v is not None) if None not in values else None


def is_paper_data(dataset: Dataset) -> bool:
    """Whether a dataset has the training images of the paper's (section 4), a few more or less."""
    counts = dataset.counts().get("train", {})
    if counts.keys() != PAPER_COUNTS.keys() or dataset.manifest.source.get("source") in BUILT_IN:
        return False
    return all(abs(counts[label] - number) <= 10 for label, number in PAPER_COUNTS.items())


def _row(group: Sequence[CellRecord], origins: Mapping[str, Origin], is_paper_data: bool) -> Row:
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
        free=Arm.parse(first.arm).control is None and all(map(is_remedy_generator, generators)),
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
        best_test_accuracy=_mean([_best_test_accuracy(cell.curve) for cell in group]),
        best_test_accuracy_20_epochs=_mean([paper_figure(cell.curve, 20) for cell in group]),
        best_test_accuracy_30_epochs=_mean([paper_figure(cell.curve, 30) for cell in group]),
        paper_accuracy=PAPER_ACCURACY.get((first.arm, first.amount, first.schedule))
        if is_paper_data
        else None,
        seconds=float(np.mean([cell.seconds for cell in group])),
        updates=first.curve[-1].updates,
        images_seen=first.curve[-1].images,
    )


def rise_of_baseline(cells: Iterable[CellRecord]) -> float | None:
    """Points of validation macro-F1 that the baseline gains in the last fifth of its training.

    The mean of that fifth less the mean of the fifth before, over its seeds; None without it or
    with fewer than ten epochs.
    """
    rises = []
    for cell in cells:
        found = [(epoch.model_extra or {}).get(f"validation_{PRIMARY}") for epoch in cell.curve]
        values = [value for value in found if value is not None]
        fifth = len(values) // 5
        if cell.arm == BASELINE and fifth >= 2:
            last, before = np.mean(values[-fifth:]), np.mean(values[-2 * fifth : -fifth])
            rises.append(100 * float(last - before))
    return _mean(rises)


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
        if state.finished is None or state.work_seconds is None:
            return None
        total += state.work_seconds
    return total
