"""Bring images, see their faults, cut a training set."""

import streamlit as st

from pages.parts.adding import add_dataset
from pages.parts.choose import choose
from pages.parts.cutting import cut_training_set
from pages.parts.frame import run_page, show_user_errors
from pages.parts.health import health
from pages.parts.images import images
from pages.parts.live import apply, latest_run, render_run
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.plots.dataset import class_bars
from rebalance_core.removal import dependents, remove_dataset_and_report
from rebalance_core.workspace import Workspace


def render(workspace: Workspace) -> None:
    names = list_datasets(workspace)
    with st.expander("Add a dataset", expanded=not names, icon=":material/add:"):
        add_dataset(workspace)
    importing = latest_run(workspace, "import", lambda view: view.status != "done")
    if importing and (importing.live or importing.status == "failed"):
        st.markdown(f"**{escape_markdown(importing.name)}**")
        render_run(importing)
    if not names:
        st.info("No dataset yet. Add the phantom above to try everything without a download.")
        return
    name = choose("Dataset", names, "dataset")
    show_user_errors(_dataset)(workspace, name)
    _remove(workspace, name)


def _dataset(workspace: Workspace, name: str) -> None:
    dataset = open_dataset(workspace, name)
    _overview(dataset)
    # Each part redraws alone: a slider moves bars without reading findings anew.
    st.fragment(show_user_errors(_health_and_images))(dataset)
    st.fragment(show_user_errors(cut_training_set))(workspace, dataset)


def _overview(dataset: Dataset) -> None:
    counts = dataset.counts()
    train = counts.get("train", {})
    facts = st.columns(4)
    facts[0].metric("Images", f"{len(dataset.catalogue):,}")
    facts[1].metric("Classes", len(dataset.classes))
    ratio = max(train.values()) / max(1, min(train.values()))
    facts[2].metric("Imbalance ratio", f"{ratio:.1f} : 1", help="Largest : smallest in training.")
    facts[3].metric("Channels", "1, gray" if dataset.channels == 1 else "3, colour")
    st.plotly_chart(class_bars(counts), key=f"bars {dataset.name}")


def _health_and_images(dataset: Dataset) -> None:
    health(dataset)
    images(dataset)


def _remove(workspace: Workspace, name: str) -> None:
    with st.expander("Remove this dataset", icon=":material/delete:"):
        left = dependents(workspace, name).summary
        told = f" What depends on it stays but cannot be continued: {left}." if left else ""
        st.markdown(f"All images of {name} go, for good.{told}")
        sure = st.checkbox(f"Yes, remove {name}")
        if st.button("Remove", disabled=not sure):
            apply(lambda: remove_dataset_and_report(workspace, name), f"Removed dataset {name}.")


run_page(render, "Data", "Your images, their faults, and the training sets made of them.")
