"""Where am I on the way, what runs, what next."""

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
    "data": "Bring images; see their classes and faults; cut a training set.",
    "poses": "Cluster each class by pose, so that a generator has less to learn.",
    "generators": "Train BAGAN-GP, diffusion models or SMOTE and watch them.",
    "samples": "Generate images and look at them beside the originals.",
    "comparison": "Train classifiers with and without them; read the answer.",
}


def _reached(workspace: Workspace, views: list[RunView]) -> dict[str, str]:
    """For each step, what is there already; '' where nothing is."""
    names = list_datasets(workspace)
    posed = [n for n in names if current_version(workspace.datasets / n)]
    trained = [v for v in views if v.kind == "train" and v.status == "done"]
    compared = [v for v in views if v.kind == "compare" and v.status == "done"]
    synthetic = list_synthetic(workspace)
    return {
        "data": ", ".join(names),
        "poses": ", ".join(posed),
        "generators": f"{len(trained)} trained" if trained else "",
        "samples": ", ".join(synthetic),
        "comparison": f"{len(compared)} finished" if compared else "",
    }


def render(workspace: Workspace) -> None:
    views = list_runs(workspace)
    reached = _reached(workspace, views)
    following = next((name for name, there in reached.items() if not there), "comparison")
    if not reached["data"]:
        _start(workspace, views)
    st.subheader("The way")
    for number, (name, what) in enumerate(STEPS.items(), start=1):
        with st.container(border=True):
            left, middle, right = st.columns([3, 5, 3], vertical_alignment="center")
            with left:
                link(name, f"{number}. {PAGES[name][0]}")
            middle.markdown(what)
            if reached[name]:
                right.markdown(f":green[:material/check:] {reached[name]}")
            elif name == following:
                right.markdown("**:material/arrow_back: next**")
    st.subheader("What runs")
    poll_fragment(
        any(v.live for v in views),
        lambda: [v for v in list_runs(workspace) if v.live],
        bool,
        _running,
    )


def _start(workspace: Workspace, views: list[RunView]) -> None:
    with st.container(border=True):
        st.markdown(
            "**Nothing here yet.** Try the whole way on a made-up brain MRI (1,000 images, no "
            "download), or bring your own images on the Data page."
        )
        busy = any(v.live and v.kind == "import" for v in views)
        if st.button("Add the phantom", type="primary", disabled=busy):
            config = ImportConfig(name="phantom", source="phantom")
            apply(lambda: start_run(workspace, config))


def _running(views: list[RunView]) -> None:
    for view in views:
        st.progress(
            view.progress["fraction"], text=f"{escape_markdown(view.name)}: {progress_text(view)}"
        )
    if not views:
        st.markdown("Nothing runs. What ran is on the Runs page.")


run_page(
    render,
    "Rebalance Studio",
    "My image classes are skewed: would generated images of the rare ones help my classifier?",
)
