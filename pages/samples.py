"""Sample a generator, and inspect its images beside the originals."""

import streamlit as st

from pages.parts.beside import beside_originals, side_by_side
from pages.parts.choose import choose
from pages.parts.curating import curate
from pages.parts.exporting import export, offer_removal
from pages.parts.external import import_form
from pages.parts.filters import filters
from pages.parts.frame import empty_state, link, run_page, show_user_errors
from pages.parts.live import latest_run, render_run
from pages.parts.markdown import escape_markdown
from pages.parts.quiz import render_quiz
from pages.parts.sampling import sample_form
from pages.parts.scores import scores
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import list_runs
from rebalance_core.synthesis.synthetic_set import SyntheticSet, list_synthetic, open_synthetic
from rebalance_core.workspace import Workspace

VIEWS = {
    "Beside originals": beside_originals,
    "Side by side": side_by_side,
    "Curate": curate,
    "Quality": scores,
    "Filters": filters,
    "Real or generated?": render_quiz,
    "Export": export,
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
    import_form(workspace)
    newest = latest_run(workspace, "sample", lambda view: view.status != "done")
    if newest is not None and (newest.live or newest.status == "failed"):
        st.markdown(f"**{escape_markdown(newest.name)}**")
        render_run(newest)
    names = list_synthetic(workspace)[::-1]
    if not names:
        return
    st.subheader("Inspect a synthetic set")
    name = choose("Synthetic set", names, "synthetic")
    try:
        synthetic = open_synthetic(workspace, name)
    except UserError as error:
        st.error(escape_markdown(str(error)))
        offer_removal(workspace, name)
        return
    _inspect(workspace, synthetic)
    link("comparison", "Continue to Comparison")


def _inspect(workspace: Workspace, synthetic: SyntheticSet) -> None:
    counts = ", ".join(f"{label} {n}" for label, n in synthetic.counts.items())
    seed = f"; seed {synthetic.provenance.seed}"
    if synthetic.provenance.run is None:
        seed = ""
    st.caption(f"{escape_markdown(synthetic.origin)}; {escape_markdown(counts)}{seed}.")
    # Only the open tab is rendered; the others are neither computed nor sent.
    for tab, view in zip(
        st.tabs(list(VIEWS), key="views", on_change="rerun"), VIEWS.values(), strict=True
    ):
        if tab.open:
            with tab:
                show_user_errors(view)(workspace, synthetic)


run_page(
    render, "Samples", "Generated images beside the originals, and the nearest original to each."
)
