"""Sample a generator; look at what it made beside the originals."""

import streamlit as st

from pages.parts.beside import beside_originals, side_by_side
from pages.parts.bringing import bring
from pages.parts.choose import choose
from pages.parts.exporting import export, offer_removal
from pages.parts.filters import filters
from pages.parts.frame import empty_state, link, run_page, show_user_errors
from pages.parts.keeping import keep_or_throw
from pages.parts.live import latest_run, render_run
from pages.parts.markdown import escape_markdown
from pages.parts.quiz import quiz
from pages.parts.sampling import sample_form
from pages.parts.scores import scores
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import list_runs
from rebalance_core.synthesis.synthetic_set import SyntheticSet, list_synthetic, open_synthetic
from rebalance_core.workspace import Workspace

VIEWS = {
    "Beside originals": beside_originals,
    "Side by side": side_by_side,
    "Keep or throw away": keep_or_throw,
    "Quality": scores,
    "Filters": filters,
    "Real or generated?": quiz,
    "Take away": export,
}


def render(workspace: Workspace) -> None:
    trained = [v for v in list_runs(workspace, "train") if v.status == "done"]
    if not trained:
        empty_state(
            "There is no trained generator yet: train one, then sample it here.",
            "generators",
            "Train a generator",
        )
    else:
        show_user_errors(sample_form)(workspace, trained)
    bring(workspace)
    newest = latest_run(workspace, "sample", lambda view: view.status != "done")
    if newest is not None and (newest.live or newest.status == "failed"):
        st.markdown(f"**{escape_markdown(newest.name)}**")
        render_run(newest)
    names = list_synthetic(workspace)[::-1]
    if not names:
        return
    st.subheader("Look at a synthetic set")
    name = choose("Synthetic set", names, "synthetic")
    try:
        found = open_synthetic(workspace, name)
    except UserError as error:
        st.error(escape_markdown(str(error)))
        offer_removal(workspace, name)
        return
    _look(workspace, found)
    link("comparison", "On to Comparison")


def _look(workspace: Workspace, found: SyntheticSet) -> None:
    told = ", ".join(f"{label} {n}" for label, n in found.counts.items())
    seed = f"; seed {found.provenance.seed}"
    if found.provenance.run is None:
        seed = ""
    st.caption(f"{escape_markdown(found.origin)}; {escape_markdown(told)}{seed}.")
    # Only the open one is drawn: what it needs is neither computed nor sent for the others.
    for tab, inside in zip(
        st.tabs(list(VIEWS), key="views", on_change="rerun"), VIEWS.values(), strict=True
    ):
        if tab.open:
            with tab:
                show_user_errors(inside)(workspace, found)


run_page(
    render, "Samples", "Generated images beside the originals, and the nearest original to each."
)
