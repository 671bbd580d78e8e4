"""Results of a comparison: answer, table, confusion matrices, images, downloads, classifier."""

import io
import secrets
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.parts.frame import show_user_errors
from pages.parts.gallery import Group, Tile, enlarge, gallery, image_tile
from pages.parts.live import apply, job_panel, latest_run
from pages.parts.markdown import escape_markdown
from rebalance_core.classifiers.measures import find_measure, primary_measure
from rebalance_core.comparison.classify import ClassifyConfig
from rebalance_core.comparison.contrasts import baseline_contrasts
from rebalance_core.comparison.disagreements import (
    Disagreement,
    confused_images,
    find_disagreements,
    read_training_sets,
)
from rebalance_core.comparison.job import best_classifier
from rebalance_core.comparison.records import Findings, Row, read_cells, read_kept_classifier
from rebalance_core.comparison.results import read_results
from rebalance_core.comparison.table import table
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.plots.comparison import (
    confusion_plot,
    gain_intervals,
    gain_per_minute,
    selected_cell,
)
from rebalance_core.plots.style import AS_SVG
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace

MAX_IMAGES = 20  # shown per group


def show_results(workspace: Workspace, view: RunView) -> None:
    """Render the results of a comparison that ended; nothing if no cell was finished."""
    results = read_results(workspace, view.path)
    if results is None:
        return
    rows = results.results
    st.subheader("Answer")
    (st.success if results.proven_gain else st.info)(escape_markdown(results.answer))
    for note in results.notes:
        st.caption(escape_markdown(note))
    if results.preset == "quick":
        st.caption("A demonstration at 32 px with few images and epochs, not a finding.")
    _contrast_plots(view, results)
    if results.paper:
        _paper(results)
    if results.external is not None:
        external = results.external
        st.subheader(f"On {escape_markdown(external.dataset)}")
        st.info(escape_markdown(external.answer))
        st.caption(f"{external.images:,} images, on which nothing was trained or chosen.")
        _rows_table(external.results)
    _downloads(view, results)
    st.subheader("Table")
    _table(rows)
    confusions, disagreements, cost, classifier = st.tabs(
        ["Confusion matrices", "Where two arms differ", "Gain and cost", "Classifier"]
    )
    with confusions:
        show_user_errors(_confusions)(workspace, view, results)
    with disagreements:
        _disagreements(workspace, view, rows)
    with cost:
        _cost(view, rows)
    with classifier:
        _classifier(workspace, view)


def _contrast_plots(view: RunView, results: Findings) -> None:
    """Plot the primary arm against every free one, then all arms against the baseline."""
    rows, claim, title = results.results, results.claim, find_measure(results.measure).title
    if claim is not None and claim.against:
        st.markdown(escape_markdown(f"The primary arm, {claim.primary}, against every free one"))
        figure = gain_intervals(claim.against, title, "the arm on the left")
        st.plotly_chart(figure, key=f"claim {view.id}", config=AS_SVG)
        rule = "best on validation" if claim.rule == "validation" else "named in the plan"
        st.caption(
            f"Points that it is above each arm that costs no generator, with 95 % intervals; it is "
            f"the {rule}, fixed before any test prediction was made. It is claimed to be better "
            "only where all intervals are above zero, which keeps the level of one test."
        )
    if results.subsets:
        _subsets(view, results)
    if to_baseline := baseline_contrasts(rows):
        st.markdown("All arms compared with the baseline")
        figure = gain_intervals(to_baseline, title, "baseline")
        st.plotly_chart(figure, key=f"gains {view.id}", config=AS_SVG)
        st.caption(
            "95 % confidence intervals, corrected like p for all differences of the table; small "
            "strokes are single seeds. An open circle could not be tested: fewer than three seeds, "
            "or the same difference at every seed."
        )


def _paper(results: Findings) -> None:
    """Render what the paper found, and what was found here."""
    st.markdown("What the paper found")
    st.dataframe(
        [
            {
                "section": line.section,
                "the paper": line.said,
                "here": line.found,
                "agrees": line.agrees,
            }
            for line in results.paper
        ],
        hide_index=True,
    )
    st.caption(
        "Accuracies are the best of any epoch on the test split, chosen on that split as in the "
        "paper; intervals are over seeds alone. Open: these seeds do not show it either way."
    )


def _subsets(view: RunView, results: Findings) -> None:
    """Render where the primary arm helps or hurts: classes, poses, similar images."""
    claim = results.claim
    assert claim is not None  # subsets are of its primary arm
    st.markdown("Where it helps or hurts")
    gains = {subset.name: subset.gain for subset in results.subsets}
    figure = gain_intervals(gains, "accuracy", str(claim.closest))
    st.plotly_chart(figure, key=f"subsets {view.id}", config=AS_SVG)
    st.dataframe(
        [
            {
                "test images": subset.name,
                "number": subset.images,
                claim.primary: subset.accuracy.get(claim.primary),
                str(claim.closest): subset.accuracy.get(str(claim.closest)),
                "difference": subset.gain.gain,
                "95 % from": subset.gain.interval and subset.gain.interval[0],
                "95 % to": subset.gain.interval and subset.gain.interval[1],
            }
            for subset in results.subsets
        ],
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(name, format="%.1f")
            for name in (claim.primary, str(claim.closest), "difference", "95 % from", "95 % to")
        },
    )
    st.caption(
        "Percent classified correctly (of one class: its recall), mean over seeds, at the epoch "
        f"chosen on validation, and the difference to {escape_markdown(str(claim.closest))}. "
        "Intervals are of one subset each, not corrected. Similar: the same content as a training "
        "image, up to a difference of 0.16; a claim that rests on these rests on memory."
    )


def _cost(view: RunView, rows: list[Row]) -> None:
    compared = any(row.gain is not None for row in rows)
    if compared and any(row.generator_seconds is not None for row in rows):
        st.plotly_chart(gain_per_minute(rows), key=f"cost {view.id}", config=AS_SVG)
    else:
        st.info("Compare an arm with the baseline to see its gain per minute.")


def _table(rows: list[Row]) -> None:
    _rows_table(rows)
    _table_caption()


def _rows_table(rows: list[Row]) -> None:
    columns, values = table(rows)
    st.dataframe(
        pd.DataFrame(values, columns=[column.title for column in columns]),
        hide_index=True,
        column_config={
            column.title: st.column_config.TextColumn(column.title, pinned=True, width="large")
            if column.kind == "text"
            else st.column_config.NumberColumn(
                column.title, format=column.printf, help=column.help or None
            )
            for column in columns
        },
    )


def _table_caption() -> None:
    st.caption(
        "Percent on the test split at the epoch selected on validation, mean over seeds; click a "
        "heading to sort. Gains over the baseline and the reference (of the arms without a "
        "generator the best on validation): points, paired by seed. Interval and p come from one "
        "model of seeds and test images and are corrected together for all differences in this "
        "table. Updates and images seen: per seed. Swing: mean absolute change of validation "
        "accuracy between epochs. Minutes: for one seed, including the generator's training and "
        "sampling. Last epoch, and from “Best epoch” on, where every epoch was tested: the "
        "accuracy at the last epoch, at the best epoch on the test split itself (as the paper "
        "computes it), and the paper's own figures for its data."
    )


def _downloads(view: RunView, results: Findings) -> None:
    folder, name = view.path / "result", f"{view.config.get('set')}"
    if results.outdated:
        st.caption(
            "The report and tables of this comparison were written by an earlier version, whose "
            "intervals were too narrow. Compare again for new ones: finished classifiers are "
            "reused."
        )
        return
    files = [
        ("Download the report", "report.html", "text/html", ":material/description:"),
        ("Results, JSON", "results.json", "application/json", ":material/data_object:"),
        ("Classifiers, CSV", "cells.csv", "text/csv", ":material/table:"),
        ("Curves, CSV", "curves.csv", "text/csv", ":material/show_chart:"),
    ]
    for column, (label, file, mime, icon) in zip(st.columns(4), files, strict=True):
        if (folder / file).exists():
            column.download_button(
                label,
                (folder / file).read_bytes(),
                file_name=f"{name}-{file}",
                mime=mime,
                icon=icon,
                width="stretch",
                key=f"{file} {view.id}",
            )


def _confusions(workspace: Workspace, view: RunView, results: Findings) -> None:
    names = [row.name for row in results.results]
    chosen = st.multiselect("Side by side", names, default=names[:2], key=f"confusions {view.id}")
    rows = [row for row in results.results if row.name in chosen]
    selected: tuple[str, tuple[str, str]] | None = None
    for start in range(0, len(rows), 2):
        for column, row in zip(st.columns(2), rows[start : start + 2], strict=False):
            column.markdown(f"**{escape_markdown(row.name)}**")
            event = column.plotly_chart(
                confusion_plot(row.confusion, results.classes),
                key=f"confusion {row.name} {view.id}",
                on_select="rerun",
                selection_mode="points",
            )
            if cell := selected_cell(event["selection"]["points"]):
                selected = row.name, cell
    st.caption(
        "Counts of test images over all seeds; one row per true class, colored by its proportions. "
        "Click a cell to see its images."
    )
    if selected is not None:
        _confused(workspace, view, *selected)


def _confused(workspace: Workspace, view: RunView, name: str, cell: tuple[str, str]) -> None:
    """Render the test images of one cell of a confusion matrix."""
    sets = read_training_sets(view.path)
    dataset = open_dataset(workspace, next(iter(sets.values())).config.dataset)
    images = confused_images(read_cells(view.path), sets, dataset, name, *cell)
    true, predicted = cell
    title = f"{name}: {len(images)} images of {true} that a seed predicted as {predicted}"
    tiles = [
        replace(image_tile(dataset, image), caption=f"{hits} of {tested} seeds")
        for image, (hits, tested) in list(images.items())[:MAX_IMAGES]
    ]
    if not tiles:
        st.info(escape_markdown(f"{name}: no image of {true} was predicted as {predicted}."))
        return
    if clicked := gallery([Group(tiles, title)], key=f"confused {view.id}"):
        enlarge(dataset, clicked)


def _disagreements(workspace: Workspace, view: RunView, rows: list[Row]) -> None:
    names = [row.name for row in rows]
    if len(names) < 2:
        st.info("Compare a second arm to see which test images the two classify differently.")
        return
    left, right = st.columns(2)
    first = left.selectbox("Right", names, 1, key=f"right {view.id}")
    second = right.selectbox("Wrong", names, 0, key=f"wrong {view.id}")
    sets = read_training_sets(view.path)
    dataset = open_dataset(workspace, next(iter(sets.values())).config.dataset)
    differing, tested = find_disagreements(read_cells(view.path), sets, dataset, first, second)
    if not differing:
        st.info("These two arms agree on every test image; choose two others.")
        return
    gained = [d for d in differing if d.first > d.second]
    lost = [d for d in differing if d.first < d.second][::-1]
    groups = [
        Group(
            [_tile(dataset, d) for d in group[:MAX_IMAGES]],
            f"Right with {right}, wrong with {wrong}: {len(group)} of {tested}",
        )
        for right, wrong, group in ((first, second, gained), (second, first, lost))
    ]
    clicked = gallery(groups, key=f"differ {view.id}")
    st.caption(
        "Below each image: its class, and the share of the seeds that tested it for which "
        f"{escape_markdown(first)} / {escape_markdown(second)} classified it correctly; the "
        "largest differences come first. Click an image to enlarge it."
    )
    if clicked:
        enlarge(dataset, clicked)


def _tile(dataset: Dataset, disagreement: Disagreement) -> Tile:
    caption = f"{disagreement.label}\n{disagreement.first:.0%} / {disagreement.second:.0%}"
    return replace(image_tile(dataset, disagreement.image), caption=caption)


def _classifier(workspace: Workspace, view: RunView) -> None:
    folder = best_classifier(view.path)
    if folder is None:
        st.info(
            "All classifiers were reused from earlier comparisons, which keep the best of them."
        )
        return
    kept = read_kept_classifier(folder)
    primary = primary_measure()
    st.markdown(
        escape_markdown(
            f"Best classifier on validation of those trained here: {kept.label}, seed {kept.seed}, "
            f"epoch {kept.epoch}, {primary.title} "
            f"{primary.shown(kept.validation_macro_f1):.1f} on "
            f"validation; trained on {kept.set} at {kept.size} px."
        )
    )
    with st.popover("Export", icon=":material/download:"):
        st.markdown("On the command line, to a new folder:")
        st.code(f"python -m rebalance_core save-classifier {view.id} FOLDER", language=None)
        st.download_button(
            "model.safetensors",
            (folder / "model.safetensors").read_bytes,
            file_name="model.safetensors",
            key=f"weights {view.id}",
        )
        st.download_button(
            "config.json",
            (folder / "config.json").read_bytes(),
            file_name="config.json",
            key=f"config {view.id}",
        )
    uploaded = st.file_uploader(
        "Classify an image",
        ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "gif"],
        key=f"image {view.id}",
    )
    if uploaded is not None and st.button("Classify", key=f"classify {view.id}"):
        apply(lambda: _classify(workspace, view, uploaded.name, uploaded))
    job_panel(
        latest_run(workspace, "classify", lambda v: v.config.get("run") == view.id),
        "Research software, not for diagnosis: it can only predict the classes above.",
        _predictions,
    )


def _predictions(classified: RunView) -> None:
    for prediction in classified.result["predictions"]:
        st.markdown(escape_markdown(f"{prediction['image']}: {prediction['class']}"))
        for label, probability in prediction["probabilities"].items():
            st.progress(probability, text=escape_markdown(f"{label} {probability:.1%}"))


def _classify(workspace: Workspace, view: RunView, name: str, content: io.BytesIO) -> None:
    """Save the uploaded image and start a run that classifies it."""
    target = workspace.uploads / secrets.token_hex(8) / Path(name).name
    target.parent.mkdir(parents=True)
    target.write_bytes(content.getvalue())
    start_run(workspace, ClassifyConfig(run=view.id, images=(str(target),)))
