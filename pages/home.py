"""Home page: progress through the workflow, active runs, next step."""

import streamlit as st

from pages.parts.frame import PAGES, link, run_page
from pages.parts.live import apply, poll_fragment, progress_text
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.poses.versions import current_version
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.workspace import Workspace

STEPS = {
    "data": "Import images, check their quality and create a training set.",
    "poses": "Cluster each class by pose, so that a generator has less variation to learn.",
    "generators": "Train BAGAN-GP, diffusion models or SMOTE and follow their training.",
    "samples": "Generate images and compare them with the originals.",
    "comparison": "Train classifiers with and without generated images and read the answer.",
}


def _completed(workspace: Workspace, views: list[RunView]) -> dict[str, str]:
    """Existing results of each step, '' for a step without any."""
    names = list_datasets(workspace)
    clustered = [n for n in names if current_version(workspace.datasets / n)]
    trained = [v for v in views if v.kind == "train" and v.status == "done"]
    compared = [v for v in views if v.kind == "compare" and v.status == "done"]
    synthetic = list_synthetic(workspace)
    return {
        "data": ", ".join(names),
        "poses": ", ".join(clustered),
        "generators": f"{len(trained)} trained" if trained else "",
        "samples": ", ".join(synthetic),
        "comparison": f"{len(compared)} finished" if compared else "",
    }


def render(workspace: Workspace) -> None:
    views = list_runs(workspace)
    completed = _completed(workspace, views)
    next_step = next((name for name, text in completed.items() if not text), "comparison")
    if not completed["data"]:
        _start(workspace, views)
    st.subheader("Workflow")
    for number, (name, description) in enumerate(STEPS.items(), start=1):
        with st.container(border=True):
            left, middle, right = st.columns([3, 5, 3], vertical_alignment="center")
            with left:
                link(name, f"{number}. {PAGES[name][0]}")
            middle.markdown(description)
            if completed[name]:
                right.markdown(f":green[:material/check:] {completed[name]}")
            elif name == next_step:
                right.markdown("**:material/arrow_back: next**")
    st.subheader("Active runs")
    poll_fragment(
        any(v.live for v in views),
        lambda: [v for v in list_runs(workspace) if v.live],
        bool,
        _running,
    )


def _start(workspace: Workspace, views: list[RunView]) -> None:
    with st.container(border=True):
        st.markdown(
            "**No data yet.** Try the whole workflow on a simulated brain MRI (1,000 images, no "
            "download), or import your own images on the Data page."
        )
        importing = any(v.live and v.kind == "import" for v in views)
        if st.button("Add the phantom", type="primary", disabled=importing):
            config = ImportConfig(name="phantom", source="phantom")
            apply(lambda: start_run(workspace, config))


def _running(views: list[RunView]) -> None:
    for view in views:
        st.progress(
            view.progress.fraction, text=f"{escape_markdown(view.name)}: {progress_text(view)}"
        )
    if not views:
        st.markdown("No active runs. See Runs for history.")


run_page(
    render,
    "Rebalance Studio",
    "My image classes are imbalanced: would generated images of the rare ones help my classifier?",
)
