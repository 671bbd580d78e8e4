"""Data page: import images, check their quality, create a training set."""

import streamlit as st

from pages.parts.choose import choose
from pages.parts.dataset_form import dataset_form
from pages.parts.frame import run_page, show_user_errors
from pages.parts.health import health
from pages.parts.images import images
from pages.parts.live import apply, dismiss, is_dismissed, latest_run, render_run
from pages.parts.markdown import escape_markdown
from pages.parts.training_set_form import training_set_form
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.plots.dataset import class_bars
from rebalance_core.removal import dataset_dependents, remove_dataset_only
from rebalance_core.workspace import Workspace


def render(workspace: Workspace) -> None:
    names = list_datasets(workspace)
    with st.expander("Add a dataset", expanded=not names, icon=":material/add:"):
        dataset_form(workspace)
    _current_import(workspace)
    if not names:
        st.info("No dataset yet. Add the phantom above to try everything without a download.")
        return
    name = choose("Dataset", names, "dataset")
    show_user_errors(_dataset)(workspace, name)
    _remove(workspace, name)


def _current_import(workspace: Workspace) -> None:
    """Render the import that is running or has failed, unless a later one succeeded."""
    view = latest_run(workspace, "import", lambda view: view.live)
    view = view or latest_run(workspace, "import", lambda view: True)
    if view is None or is_dismissed(view) or not (view.live or view.status == "failed"):
        return
    left, right = st.columns([6, 1], vertical_alignment="center")
    left.markdown(f"**{escape_markdown(view.name)}**")
    if view.status == "failed" and right.button("Dismiss", key=f"dismiss {view.id}"):
        apply(lambda: dismiss(view))
    render_run(view)


def _dataset(workspace: Workspace, name: str) -> None:
    dataset = open_dataset(workspace, name)
    _overview(dataset)
    # Separate fragments, so that a slider of the form does not recompute the findings.
    st.fragment(show_user_errors(_health_and_images))(dataset)
    st.fragment(show_user_errors(training_set_form))(workspace, dataset)


def _overview(dataset: Dataset) -> None:
    counts = dataset.counts()
    train = counts.get("train", {})
    columns = st.columns(4)
    columns[0].metric("Images", f"{len(dataset.catalogue):,}")
    columns[1].metric("Classes", len(dataset.classes))
    ratio = max(train.values()) / max(1, min(train.values()))
    columns[2].metric(
        "Imbalance ratio", f"{ratio:.1f} : 1", help="Largest : smallest class in training."
    )
    columns[3].metric("Channels", "1 (gray)" if dataset.channels == 1 else "3 (colour)")
    st.plotly_chart(class_bars(counts), key=f"bars {dataset.name}")


def _health_and_images(dataset: Dataset) -> None:
    health(dataset)
    images(dataset)


def _remove(workspace: Workspace, name: str) -> None:
    with st.expander("Remove this dataset", icon=":material/delete:"):
        summary = dataset_dependents(workspace, name).summary
        warning = f" Its dependents remain but cannot be continued: {summary}." if summary else ""
        st.markdown(f"Permanently deletes all images of {name}.{warning}")
        confirmed = st.checkbox(f"Yes, remove {name}")
        if st.button("Remove", disabled=not confirmed):
            apply(lambda: remove_dataset_only(workspace, name), f"Removed dataset {name}.")


run_page(render, "Data", "Your images, their quality, and the training sets created from them.")
