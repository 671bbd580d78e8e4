"""Images that another program made, taken in as a synthetic set."""

import streamlit as st

from pages.parts.choose import remember
from pages.parts.live import apply, latest_run, render_run, submitted_message
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.external import ExternalConfig
from rebalance_core.training_sets.resolve import list_sets
from rebalance_core.workspace import Workspace


def bring(workspace: Workspace) -> None:
    """A folder of images that another program made, and the run that takes it in."""
    sets = [*list_sets(workspace), *list_datasets(workspace)]
    if sets:
        with st.expander("Bring images made elsewhere", icon=":material/drive_folder_upload:"):
            _choose_folder(workspace, sets)
    newest = latest_run(workspace, "bring", lambda view: True)
    if newest is not None and newest.status != "done":
        st.markdown(f"**{escape_markdown(newest.name)}**")
        render_run(newest)


def _choose_folder(workspace: Workspace, sets: list[str]) -> None:
    folder = st.text_input(
        "Folder on this machine",
        placeholder="…/generated",
        help="With a folder a class, named as the training set's, and square images of one size "
        "in each. They are copied; the folder stays as it is.",
    )
    left, right = st.columns(2)
    name = left.text_input("Name", "brought", key="brought name")
    set_name = right.selectbox(
        "Made from training set",
        sets,
        help="You are responsible for their generator having been trained on this set alone. The "
        "images, and comparisons that use them, are marked as unverified.",
    )
    if st.button("Bring", disabled=not folder):

        def start() -> RunView:
            config = ExternalConfig.build(name=name, folder=folder.strip(), set=set_name)
            view = start_run(workspace, config)
            remember("synthetic", name)
            return view

        apply(start, submitted_message)
