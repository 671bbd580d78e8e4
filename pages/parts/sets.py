"""Choosing a training set."""

import streamlit as st

from pages.parts.choose import choose
from pages.parts.frame import link
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.datasets.training_set import TrainingSet, list_sets, open_set
from rebalance_core.workspace import Workspace


def choose_set(workspace: Workspace) -> TrainingSet | None:
    """The chosen training set with its counts; None, and what to do, where there is none."""
    names = [*list_sets(workspace), *list_datasets(workspace)]
    if not names:
        st.info("There is no training set yet: add a dataset first.")
        link("data", "Add a dataset")
        return None
    datasets = set(list_datasets(workspace))
    chosen = open_set(
        workspace,
        choose(
            "Training set", names, "set",
            shown=lambda n: f"{n} (official, as it is)" if n in datasets else n,
        ),
    )  # fmt: skip
    counts = ", ".join(f"{c} {n}" for c, n in chosen.counts.items())
    st.caption(
        f"{counts}; {chosen.ratio:.1f} : 1; split {chosen.config.split}, skew {chosen.config.skew}"
        + (f", poses {', '.join(chosen.config.poses)}" if chosen.config.poses else "")
    )
    return chosen
