"""What a comparison found: the answer, its table, confusions, pictures, report, classifier."""

import io
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.gallery import Group, Tile, enlarge, gallery, image_tile
from pages.parts.live import act, latest, watch
from pages.parts.plain import plain
from rebalance_core.comparison.classify import ClassifyConfig
from rebalance_core.comparison.disagreements import Disagreement, cells_of, disagreements
from rebalance_core.comparison.results import table
from rebalance_core.comparison.study import CELL, winner
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.training_set import TrainingSet
from rebalance_core.figures import confusion_plot, gain_intervals, gain_per_minute
from rebalance_core.files import read_json
from rebalance_core.runs.executor import RunView, submit
from rebalance_core.workspace import Workspace

SHOWN = 20  # pictures of a kind
DECIMALS = {"p, corrected": "%.3f", "Minutes": "%.1f", "Seeds": "%d"}


def show_results(workspace: Workspace, view: RunView) -> None:
    """Everything a comparison that ended has to tell; nothing where no cell was finished."""
    path = view.path / "result" / "results.json"
    if not path.exists():
        return
    results = read_json(path)
    rows = results["results"]
    st.subheader("Answer")
    st.success(plain(results["answer"]))
    if results["preset"] == "quick":
        st.caption("A demonstration at 32 px with few images and epochs, not a finding.")
    compared = any(row["gain"] is not None for row in rows)
    if compared:
        st.plotly_chart(gain_intervals(rows), key=f"gains {view.id}")
    _downloads(view, results)
    st.subheader("Table")
    _table(rows)
    kinds = ["Confusion", "Where two arms differ", "Points and minutes", "The classifier"]
    tabs = st.tabs(kinds)
    with tabs[0]:
        _confusions(view, results)
    with tabs[1]:
        _disagreements(workspace, view, rows)
    with tabs[2]:
        if compared and any(row.get("generator_seconds") is not None for row in rows):
            st.plotly_chart(gain_per_minute(rows), key=f"prices {view.id}")
        else:
            st.info("Compare an arm with the baseline to see what its points cost.")
    with tabs[3]:
        _classifier(workspace, view)


def _table(rows: list[dict[str, Any]]) -> None:
    told = pd.DataFrame(table(rows))
    formats = {
        name: st.column_config.NumberColumn(name, format=DECIMALS.get(name, "%.2f"))
        for name in told.columns
        if name != "Arm"
    }
    st.dataframe(told, hide_index=True, column_config={
        "Arm": st.column_config.TextColumn("Arm", pinned=True, width="large"), **formats,
    })  # fmt: skip
    st.caption(
        "Percent on the test split at the epoch that validation chose, mean over seeds; click a "
        "heading to sort. Difference: points of macro-F1 to baseline, paired by seed, with a 95 % "
        "bootstrap interval; p of a paired t-test, corrected for the number of arms (Holm). Swing: "
        "mean change of validation accuracy from epoch to epoch. Minutes: of a seed, with the "
        "generator's training and sampling. From “Best epoch” on: the paper's kind of figure, the "
        "best epoch's accuracy on the very split that is reported, and what the paper reports for "
        "its own data."
    )


def _downloads(view: RunView, results: dict[str, Any]) -> None:
    folder, name = view.path / "result", f"{view.config['set']}"
    kinds = [
        ("Download the report", "report.html", "text/html", ":material/description:"),
        ("Results, JSON", "results.json", "application/json", ":material/data_object:"),
        ("Classifiers, CSV", "cells.csv", "text/csv", ":material/table:"),
        ("Curves, CSV", "curves.csv", "text/csv", ":material/show_chart:"),
    ]
    for column, (label, file, mime, icon) in zip(st.columns(4), kinds, strict=True):
        if (folder / file).exists():
            column.download_button(
                label, (folder / file).read_bytes(), file_name=f"{name}-{file}", mime=mime,
                icon=icon, width="stretch", key=f"{file} {view.id}",
            )  # fmt: skip


def _confusions(view: RunView, results: dict[str, Any]) -> None:
    names = [row["name"] for row in results["results"]]
    chosen = st.multiselect("Side by side", names, default=names[:2], key=f"confusions {view.id}")
    rows = [row for row in results["results"] if row["name"] in chosen]
    for start in range(0, len(rows), 2):
        for column, row in zip(st.columns(2), rows[start : start + 2], strict=False):
            column.markdown(f"**{plain(row['name'])}**")
            figure = confusion_plot(row, results["classes"])
            column.plotly_chart(figure, key=f"confusion {row['name']} {view.id}")
    st.caption("Test images over all seeds; a row is a true class, coloured by its shares.")


def _disagreements(workspace: Workspace, view: RunView, rows: list[dict[str, Any]]) -> None:
    names = [row["name"] for row in rows]
    if len(names) < 2:
        st.info("Compare a second arm to see which test images the two tell apart differently.")
        return
    left, right = st.columns(2)
    first = left.selectbox("Right", names, 1, key=f"right {view.id}")
    second = right.selectbox("Wrong", names, 0, key=f"wrong {view.id}")
    chosen = TrainingSet.from_json(read_json(view.path / "set.json"))
    dataset = open_dataset(workspace, chosen.config.dataset)
    found = disagreements(cells_of(view.path), chosen, dataset, first, second)
    if not found:
        st.info("These two agree on every test image; choose others.")
        return
    gained = [d for d in found if d.first > d.second]
    lost = [d for d in found if d.first < d.second][::-1]
    groups = [
        Group(
            [_tile(dataset, d) for d in some[:SHOWN]],
            f"Right with {right}, wrong with {wrong}: {len(some)} of {len(chosen.test)}",
        )
        for right, wrong, some in ((first, second, gained), (second, first, lost))
    ]
    clicked = gallery(groups, key=f"differ {view.id}")
    st.caption(
        f"Beneath each image its class, and the share of the seeds at which {plain(first)} / "
        f"{plain(second)} got it right; the widest apart come first. Click one to enlarge it."
    )
    if clicked:
        enlarge(dataset, clicked)


def _tile(dataset: Dataset, found: Disagreement) -> Tile:
    caption = f"{found.label}\n{found.first:.0%} / {found.second:.0%}"
    return replace(image_tile(dataset, found.image), caption=caption)


def _classifier(workspace: Workspace, view: RunView) -> None:
    folder = winner(view.path)
    if folder is None:
        st.info("All classifiers were taken from earlier comparisons; those keep the best of them.")
        return
    cell = read_json(folder / CELL)
    st.markdown(
        plain(
            f"Best on validation of those trained here: {cell['label']}, seed {cell['seed']}, "
            f"epoch {cell['epoch']}, macro-F1 {100 * cell['validation_macro_f1']:.1f} on "
            f"validation; trained on {cell['set']} at {cell['size']} px."
        )
    )
    with st.popover("Take it away", icon=":material/download:"):
        st.markdown("On the command line, into a new folder:")
        st.code(f"python -m rebalance_core save-classifier {view.id} FOLDER", language=None)
        st.download_button(
            "model.safetensors", (folder / "model.safetensors").read_bytes,
            file_name="model.safetensors", key=f"weights {view.id}",
        )  # fmt: skip
        st.download_button(
            "config.json", (folder / "config.json").read_bytes(), file_name="config.json",
            key=f"config {view.id}",
        )  # fmt: skip
    dropped = st.file_uploader(
        "Show it an image", ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "gif"],
        key=f"image {view.id}",
    )  # fmt: skip
    if dropped is not None and st.button("Classify", key=f"classify {view.id}"):
        act(lambda: _classify(workspace, view, dropped.name, dropped))
    made = latest(workspace, "classify", lambda v: v.config["run"] == view.id)
    if made is None:
        st.caption("Research software, not for diagnosis: it knows the classes above and no other.")
    elif made.status != "done":
        watch(made)
    else:
        for told in made.result["predictions"]:
            st.markdown(plain(f"{told['image']}: {told['class']}"))
            for label, share in told["probabilities"].items():
                st.progress(share, text=plain(f"{label} {share:.1%}"))


def _classify(workspace: Workspace, view: RunView, name: str, content: io.BytesIO) -> None:
    """Keep the dropped image, show it to the classifier in a process of its own."""
    target = workspace.uploads / secrets.token_hex(8) / Path(name).name
    target.parent.mkdir(parents=True)
    target.write_bytes(content.getvalue())
    config = ClassifyConfig(run=view.id, images=(str(target),)).model_dump(mode="json")
    submit(workspace, "classify", config, name=f"classify by {view.name}", parents=[view.id])
