"""Choosing a training set, and naming a new one."""

import streamlit as st

from pages.parts.choose import choose
from pages.parts.frame import link
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.datasets.training_set import TrainingSet, list_sets, open_set
from rebalance_core.workspace import Workspace


def choose_set(workspace: Workspace, resets: str) -> TrainingSet | None:
    """The chosen training set with its counts; None, and what to do, where there is none.

    Another set makes the choice of the key `resets` void.
    """
    names = [*list_sets(workspace), *list_datasets(workspace)]
    if not names:
        st.info("There is no training set yet: add a dataset first.")
        link("data", "Add a dataset")
        return None
    datasets = set(list_datasets(workspace))
    chosen = open_set(
        workspace,
        choose(
            "Training set",
            names,
            "set",
            shown=lambda n: f"{n} (official, as it is)" if n in datasets else n,
            resets=resets,
        ),
    )
    counts = ", ".join(f"{c} {n}" for c, n in chosen.counts.items())
    st.caption(
        f"{counts}; {chosen.ratio:.1f} : 1; split {chosen.config.split}, skew {chosen.config.skew}"
        + (f", poses {', '.join(chosen.config.poses)}" if chosen.config.poses else "")
    )
    return chosen


def set_name(suggestion: str, key: str) -> str:
    """A field for a new training set's name: the suggestion, until somebody types another.

    One widget whatever is suggested, so that a suggestion never replaces the field under the
    cursor of the person who is typing in it.
    """
    suggestion = suggestion[:64]
    suggested = f"{key} suggested"
    if st.session_state.get(key) in (None, st.session_state.get(suggested)):
        st.session_state[key] = suggestion
    st.session_state[suggested] = suggestion
    return st.text_input("Name of the training set", key=key)
