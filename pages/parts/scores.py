"""Metrics of a synthetic set, beside those of real images against real ones."""

import pandas as pd
import streamlit as st

from pages.parts.live import apply, job_panel
from pages.parts.markdown import escape_markdown
from pages.parts.weights import get_weights
from rebalance_core.plots.scores import score_plot
from rebalance_core.poses.weights import has_weights
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.records import METRICS, Scores, read_scores
from rebalance_core.synthesis.scoring import (
    SPLITS,
    Features,
    ScoreConfig,
    find_scoring,
    score_table,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet
from rebalance_core.workspace import Workspace

FEATURES: dict[Features, str] = {
    "scorer": "a ResNet-18 trained on the same real images",
    "resnet18": "ResNet-18 with ImageNet's weights",
    "vgg16": "VGG-16 with ImageNet's weights",
    "inception": "Inception v3 with ImageNet's weights",
}


def scores(workspace: Workspace, synthetic: SyntheticSet) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    features = left.selectbox(
        "Features of",
        list(FEATURES),
        format_func=FEATURES.__getitem__,
        key=f"of {synthetic.name}",
        help="The space of the distances. The first is trained once, when it is first needed.",
    )
    missing = features != "scorer" and not has_weights(workspace, features)
    if features != "scorer" and missing:
        get_weights(workspace, features)

    def start() -> None:
        start_run(workspace, ScoreConfig(synthetic=synthetic.name, features=features))

    view = find_scoring(workspace, synthetic)
    busy = view is not None and view.live
    if right.button("Score", key=f"score {synthetic.name}", disabled=busy or missing):
        apply(start)
    job_panel(
        view,
        "Not scored yet. Score measures how close these images are to the real ones, how much of "
        "them they cover and how many are near-copies, beside real images against real ones.",
        lambda scored: _show(read_scores(scored), scored.id),
    )


def _show(scores: Scores, run: str) -> None:
    space = ", torchvision's weights"
    if scores.components:
        space = f", in {scores.components} principal components"
    st.caption(
        "Fréchet distance (not the FID of the literature) in the features of "
        f"{escape_markdown(scores.network)}{space}. Every metric is shown beside that of real "
        "images against real ones: two halves of the real images of the class, as many on each "
        "side. Copies: real images with a near-copy among the other real ones, as they are or "
        "under the dataset's symmetries. Class: real validation images, which that network "
        "was not trained on."
    )
    names = scores.names
    name = st.segmented_control(
        "Figure",
        names,
        format_func=scores.titles.__getitem__,
        default=names[0],
        key=f"figure {run}",
    )
    name = name or names[0]
    st.plotly_chart(score_plot(scores.by_class(name)), key=f"plot {name} {run}")
    st.caption("Higher is better." if METRICS[name][1] else "Lower is better, down to the floor.")
    st.dataframe(pd.DataFrame(score_table(scores)), hide_index=True)
    st.caption(
        "“Compared”: images on each side of a distance, precision, recall, density and coverage, "
        f"drawn {SPLITS} times; copies and class are of all images."
    )
    for scored in scores.classes.values():
        for warning in scored.warnings:
            st.warning(escape_markdown(warning))
