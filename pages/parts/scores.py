"""How good a synthetic set is: its figures beside those of real images against real ones."""

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.live import act, watch
from pages.parts.plain import plain
from rebalance_core.figures import score_plot
from rebalance_core.runs.executor import submit
from rebalance_core.synthesis.scoring import (
    FIGURES,
    ScoreConfig,
    check_score,
    read_scores,
    scores_of,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet
from rebalance_core.workspace import Workspace

FEATURES = {
    "scorer": "a ResNet-18 trained on the same real images",
    "resnet18": "ResNet-18 with ImageNet's weights",
    "vgg16": "VGG-16 with ImageNet's weights",
}


def scores(workspace: Workspace, found: SyntheticSet) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    features = left.selectbox(
        "Features of", list(FEATURES), format_func=FEATURES.__getitem__, key=f"of {found.name}",
        help="What distances are measured in. The first is trained now, once, if it wasn't yet.",
    )  # fmt: skip

    def start() -> None:
        config = ScoreConfig(synthetic=found.name, features=features)
        check_score(workspace, config)
        values = config.model_dump(mode="json")
        submit(workspace, "score", values, name=f"score {found.name}")

    view = scores_of(workspace, found.name)
    if right.button("Score", key=f"score {found.name}", disabled=view is not None and view.live):
        act(start)
    if view is None:
        st.info(
            "Not scored yet. Score measures how near these images are to the real ones, how much "
            "of them they cover, and how many are copies, each beside real images against real."
        )
    elif view.status != "done":
        watch(view)
    else:
        _show(read_scores(view), view.id)


def _show(told: dict[str, Any], run: str) -> None:
    st.caption(
        f"Features of {plain(told['network'])}; Fréchet distance in {told['components']} principal "
        "components (no FID: that has Inception's features). Every figure beside its floor: two "
        "halves of the real images against each other, of as many images."
    )
    names = [n for n in FIGURES if any(n in c["figures"] for c in told["classes"].values())]
    name = st.segmented_control(
        "Figure", names, format_func=lambda n: FIGURES[n][0], default=names[0], key=f"figure {run}"
    )
    name = name or names[0]
    st.plotly_chart(score_plot(told, name), key=f"plot {name} {run}")
    st.caption("More is better." if FIGURES[name][1] else "Less is better, down to the floor.")
    rows = [
        {
            "class": label, "images": c["images"], "compared": c["compared"],
            **{f"{FIGURES[n][0]}": c["figures"].get(n, {}).get("generated") for n in names},
        }
        for label, c in told["classes"].items()
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    for label in told["classes"].values():
        for warning in label["warnings"]:
            st.warning(plain(warning))
