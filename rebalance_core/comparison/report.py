"""The report of a comparison: a self-contained HTML page, and the same numbers as CSV tables.

The page works offline and contains the config and environment, so the comparison can be repeated.
"""

import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from rebalance_core.classifiers.measures import (
    curve_titles,
    find_measure,
    measures,
    primary_measure,
)
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import with_labels
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.contrasts import baseline_contrasts
from rebalance_core.comparison.records import (
    CellRecord,
    Results,
    StoredComparison,
    read_cells,
    read_synthetic_names,
)
from rebalance_core.comparison.table import table
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.health import duplicate_statistics
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_specs
from rebalance_core.imaging.grid import make_grid, png_bytes
from rebalance_core.plots.comparison import (
    comparison_curves,
    confusion_plot,
    gain_intervals,
    gain_per_minute,
    schedule_strips,
)
from rebalance_core.plots.dataset import class_bars
from rebalance_core.plots.poses import elbow_plot
from rebalance_core.plots.style import AS_SVG
from rebalance_core.plots.training import loss_curves, loss_groups
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.poses.pictures import cluster_rows
from rebalance_core.runs.directory import find_run
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.synthesis.pictures import sample_rows
from rebalance_core.synthesis.quiz import describe_tally, read_tally
from rebalance_core.synthesis.records import read_scores
from rebalance_core.synthesis.scoring import count_near_copies, find_scoring, score_table
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import parse_json, write_text
from rebalance_core.system.tables import csv_text
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    open_set,
    read_set,
)
from rebalance_core.workspace import Workspace

ROW_LENGTH = 10  # images
SCORED_COUNTS = ("class", "images", "near-copies of a training image")  # counted here anyway
STORED = '<script type="application/json" id="study">', "</script>"  # around the stored results
REMEDY = "choose a report or results.json"
MAX_BYTES = 200 * 2**20  # of a report


def write_report(workspace: Workspace, path: Path, results: Results) -> None:
    """Write `result/report.html`, `cells.csv` and `curves.csv` of a comparison."""
    training_set = read_set(path / "set.json")
    dataset = open_dataset(workspace, training_set.config.dataset)
    names = dict.fromkeys(read_synthetic_names(path).values())
    sets = [open_synthetic(workspace, name) for name in names]
    cells = read_cells(path)
    lines = curve_lines(cells)
    labelled = with_labels(lines)
    rows = results.results
    columns, values = table(rows)
    primary = primary_measure()
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template("report.html.jinja").render(
        plotly=get_plotlyjs(),
        run=path.name,
        results=results,
        stored=results.model_dump(mode="json"),
        primary=primary,
        measures=list(measures().values()),
        columns=columns,
        rows=[[c.format(v) for c, v in zip(columns, line, strict=True)] for line in values],
        by_class=[(r.name, _percents(r.precision), _percents(r.recall)) for r in rows],
        training_set=training_set,
        dataset=dataset,
        health=_health(dataset),
        bars=_bars(dataset, training_set, results),
        gains=_plot(
            gain_intervals(
                baseline_contrasts(rows), find_measure(results.measure).title, "baseline"
            )
        ),
        claim=_claim(results),
        subsets=_subsets(results),
        external=table(results.external.results) if results.external else None,
        measure=find_measure(results.measure),
        unverified=[s.origin for s in sets if s.unverified],
        cost=_plot(gain_per_minute(rows)),
        strips=_plot(schedule_strips(schedule_epochs(CompareConfig.build(**results.config)))),
        confusions=[(r.name, _plot(confusion_plot(r.confusion, results.classes))) for r in rows],
        poses=_poses(dataset),
        samples=[block for s in sets for block in _samples(dataset, s)],
        quizzes=[describe_tally(s.name, t) for s in sets if (t := read_tally(workspace, s.name))],
        training=[_training(workspace, s) for s in sets],
        generated=[_generated(workspace, dataset, s) for s in sets],
        curves=[
            (title, _plot(comparison_curves(labelled, metric, title)))
            for metric, title in curve_titles().items()
            if any(line.get(metric) is not None for line in lines)
        ],
        cells=cells,
    )
    write_text(path / "result" / "report.html", page)
    write_text(path / "result" / "cells.csv", cells_table(cells))
    write_text(path / "result" / "curves.csv", csv_text(lines))


def curve_lines(cells: Iterable[CellRecord]) -> list[dict[str, Any]]:
    """One line per cell and epoch."""
    keys = {"arm", "amount", "schedule", "seed"}
    return [{**c.model_dump(include=keys), **e.model_dump()} for c in cells for e in c.curve]


def cells_table(cells: Iterable[CellRecord]) -> str:
    """CSV: one line per cell, with the test results at the epoch with the best validation score."""
    lines = []
    for cell in cells:
        best = cell.best
        lines.append(
            {
                "arm": cell.arm,
                "amount": cell.amount,
                "schedule": cell.schedule,
                "seed": cell.seed,
                "synthetic": cell.synthetic,
                "images_added": sum(cell.plan.values()),
                "epoch": best.epoch,
                "validation_macro_f1": best.validation_macro_f1,
                **{f"test_{key}": best.test.measures.get(key) for key in measures()},
                "seconds": cell.seconds,
            }
        )
    return csv_text(lines)


def schedule_epochs(config: CompareConfig) -> dict[str, list[str]]:
    """{description of a schedule: kind of images in each epoch}"""
    parsed = [Schedule.parse(text) for text in config.schedules]
    return {s.words: list(s.epochs(config.classifier.epochs)) for s in parsed}


def from_report(
    workspace: Workspace, file: Path, check: Callable[[CompareConfig], None] = lambda config: None
) -> CompareConfig:
    """Read the config of a comparison from its report (.html) or `results.json`, to repeat it.

    `check` may reject the config before anything is created. Creates the training set if it does
    not exist. Raises UserError if the dataset is missing or differs, or if a different training set
    has the same name.
    """
    stored = _read_stored(file)
    try:
        config = CompareConfig.build(**stored.config)
        set_config = SetConfig.build(**stored.training_set)
    except TypeError as error:  # an unknown field
        raise UserError(f"{file} is not a comparison report; {REMEDY}.") from error
    check(config)
    dataset = open_dataset(workspace, set_config.dataset)
    if dataset.fingerprint != stored.fingerprint:
        raise UserError(
            f"Dataset {set_config.dataset} is not the one of {file.name} (fingerprint "
            f"{stored.fingerprint[:12]}…); import the original dataset under that name."
        )
    if config.set != set_config.dataset and config.set not in list_sets(workspace):
        make_set(workspace, config.set, set_config)
    local = open_set(workspace, config.set).config
    if config.redraw:
        local = local.model_copy(update={"seed": set_config.seed})
    if local != set_config:
        raise UserError(
            f"Training set {config.set} is not the one of {file.name}; rename or remove it."
        )
    return config


def _read_stored(file: Path) -> StoredComparison:
    """Read the comparison in a report or `results.json`; raises UserError for other files."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file} is too large for a report; {REMEDY}.")
        text = file.read_text(errors="replace")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); choose a report.") from error
    # Not by a pattern: over openings without an end, its time grows with their square.
    _, _, embedded = text.partition(STORED[0])
    try:
        stored = embedded.partition(STORED[1])[0] if embedded else text
        return StoredComparison.model_validate(parse_json(stored))
    except ValueError as error:
        raise UserError(f"{file} is not a comparison report; {REMEDY}.") from error


def _plot(figure: go.Figure) -> str:
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config=AS_SVG)
    return html


def _picture(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def _percents(values: list[float | None]) -> list[str]:
    """Format shares as percent; a dash for a class without test images."""
    return ["–" if value is None else f"{100 * value:.1f}" for value in values]


def _claim(results: Results) -> str | None:
    """Plot of the primary arm against every free arm; None without generated arms."""
    if results.claim is None or not results.claim.against:
        return None
    title = find_measure(results.measure).title
    return _plot(gain_intervals(results.claim.against, title, "the arm on the left"))


def _subsets(results: Results) -> str | None:
    """Plot of the primary arm's gain on each subset of the test images; None without subsets."""
    if results.claim is None or not results.subsets:
        return None
    gains = {subset.name: subset.gain for subset in results.subsets}
    return _plot(gain_intervals(gains, "accuracy", str(results.claim.closest)))


def _health(dataset: Dataset) -> list[tuple[str, Any]]:
    """Counts of unreadable files, files left out and duplicates in the dataset."""
    facts = [
        ("unreadable files skipped", len(dataset.manifest.unreadable)),
        ("files left out", sum(file.count for file in dataset.manifest.left_out)),
    ]
    duplicates = duplicate_statistics(dataset).items()
    return facts + [(k.replace("_", " "), v) for k, v in duplicates if isinstance(v, int | float)]


def _bars(dataset: Dataset, training_set: TrainingSet, results: Results) -> list[tuple[str, str]]:
    """Plot the number of images per class; with redraw, of the first seed's training set."""
    of_seed = f" of seed {results.seeds[0]}" if results.redraw else ""
    plots = [("The dataset as it was imported", _plot(class_bars(dataset.counts())))]
    plans = {row.amount: row.added for row in results.results if row.amount is not None}
    for amount, plan in plans.items():
        added = {c: plan.get(c, 0) for c in training_set.classes}
        plots.append(
            (
                f"The training set{of_seed}, and what an amount of {amount} adds to it",
                _plot(class_bars({"real": training_set.counts, "synthetic": added}, stacked=True)),
            )
        )
    if not plans:
        plots.append(
            (f"The training set{of_seed}", _plot(class_bars({"real": training_set.counts})))
        )
    return plots


def _poses(dataset: Dataset) -> dict[str, Any] | None:
    """Elbow plot, and per class a grid with one row per cluster, nearest to its centre first."""
    if not has_clustering(dataset):
        return None
    clustering = open_clustering(dataset)
    grids = []
    for label in dataset.classes:
        rows = cluster_rows(dataset, clustering, label, ROW_LENGTH)
        grids.append(
            (
                label,
                [(pose, _picture(make_grid(images, ROW_LENGTH))) for pose, images in rows.items()],
            )
        )
    record = clustering.record
    elbow = elbow_plot(record.tried, record.inertia, record.elbows, record.ks)
    return {
        "elbow": _plot(elbow),
        "record": record,
        "grids": grids,
        "images": len(clustering.fitted_on),
    }


def _samples(dataset: Dataset, synthetic: SyntheticSet) -> list[dict[str, Any]]:
    """Per class: originals, generated images and the nearest originals, with distances."""
    blocks = []
    for label in synthetic.counts:
        rows = sample_rows(dataset, synthetic, label, ROW_LENGTH)
        pictures = {
            "original": rows.originals,
            "generated": rows.generated,
            "nearest original": rows.nearest,
        }
        blocks.append(
            {
                "generator": synthetic.generator,
                "label": label,
                "rows": [
                    (name, _picture(make_grid(images, ROW_LENGTH)))
                    for name, images in pictures.items()
                ],
                "distances": ", ".join(f"{d:.1f}" for d in rows.distances),
            }
        )
    return blocks


def _generated(workspace: Workspace, dataset: Dataset, synthetic: SyntheticSet) -> dict[str, Any]:
    """A synthetic set's near-copies, the scores it was given, and the filters it went through."""
    copies = count_near_copies(dataset, synthetic)
    rows: list[dict[str, Any]] = [
        {"class": label, "images": number, "near-copies of training images": copies[label]}
        for label, number in synthetic.counts.items()
    ]
    view = find_scoring(workspace, synthetic)
    scored: dict[str, dict[str, Any]] = {}
    if view is not None and view.status == "done":
        with suppress(UserError):  # damaged: shown as not scored
            scored = {row["class"]: row for row in score_table(read_scores(view))}
    titles = [title for title in next(iter(scored.values()), {}) if title not in SCORED_COUNTS]
    for row in rows:
        row |= {title: scored.get(row["class"], {}).get(title) for title in titles}
    filters = [
        f"{step.name}: {sum(map(len, step.removed.values())):,} images removed from "
        f"{step.source.name}"
        for step in synthetic.provenance.filters
    ]
    return {"name": synthetic.name, "rows": rows, "scored": bool(scored), "filters": filters}


def _training(workspace: Workspace, synthetic: SyntheticSet) -> dict[str, Any]:
    """The generator's curves and training time, if its run still exists."""
    details: dict[str, Any] = {
        "generator": synthetic.generator,
        "name": synthetic.name,
        "origin": synthetic.origin,
        "config": synthetic.provenance.training,
        "plots": [],
        "seconds": None,
    }
    try:
        view = view_run(find_run(workspace, str(synthetic.provenance.run)))
    except UserError:
        return details
    metrics = read_metrics(view.path)
    spec = generator_specs().get(view.config.get("generator", ""))
    groups = loss_groups(metrics, spec.plot_groups if spec else ())
    details["plots"] = [_plot(loss_curves(metrics, names)) for names in groups]
    if view.state.finished:
        details["seconds"] = view.state.work_seconds
    return details
