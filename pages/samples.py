"""Sample a generator; look at what it made beside the originals."""

import streamlit as st

from pages.parts.beside import beside_originals, side_by_side
from pages.parts.bringing import bring
from pages.parts.choose import choose
from pages.parts.exporting import export, offer_removal
from pages.parts.filters import filters
from pages.parts.frame import empty_state, guarded, link, show
from pages.parts.keeping import keep_or_throw
from pages.parts.live import latest, watch
from pages.parts.plain import plain
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


def draw(workspace: Workspace) -> None:
    trained = [v for v in list_runs(workspace, "train") if v.status == "done"]
    if not trained:
        empty_state(
            "There is no trained generator yet: train one, then sample it here.",
            "generators",
            "Train a generator",
        )
    else:
        guarded(sample_form)(workspace, trained)
    bring(workspace)
    newest = latest(workspace, "sample", lambda view: view.status != "done")
    if newest is not None and (newest.live or newest.status == "failed"):
        st.markdown(f"**{plain(newest.name)}**")
        watch(newest)
    names = list_synthetic(workspace)[::-1]
    if not names:
        return
    st.subheader("Look at a synthetic set")
    name = choose("Synthetic set", names, "synthetic")
    try:
        found = open_synthetic(workspace, name)
    except UserError as error:
        st.error(plain(str(error)))
        offer_removal(workspace, name)
        return
    _look(workspace, found)
    link("comparison", "On to Comparison")


def _look(workspace: Workspace, found: SyntheticSet) -> None:
    told = ", ".join(f"{label} {n}" for label, n in found.counts.items())
    seed = f"; seed {found.provenance.get('seed')}"
    if found.provenance.get("run") is None:
        seed = ""
    st.caption(f"{plain(found.origin)}; {plain(told)}{seed}.")
    # Only the open one is drawn: what it needs is neither computed nor sent for the others.
    for tab, inside in zip(
        st.tabs(list(VIEWS), key="views", on_change="rerun"), VIEWS.values(), strict=True
    ):
        if tab.open:
            with tab:
                guarded(inside)(workspace, found)


show(draw, "Samples", "Generated images beside the originals, and the nearest original to each.")
