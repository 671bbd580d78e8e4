"""Choosing a training set, and saving a new one."""

import streamlit as st

from pages.parts.choose import SAVED, choose
from pages.parts.frame import empty_state
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.synthesis.synthetic_set import open_all_synthetic
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import TrainingSet, list_sets, make_set, open_set
from rebalance_core.workspace import Workspace


def choose_set(workspace: Workspace, resets: str) -> TrainingSet | None:
    """The chosen training set with its counts; None, and what to do, where there is none.

    Another set makes the choice of the key `resets` void.
    """
    names = [*list_sets(workspace), *list_datasets(workspace)]
    if not names:
        empty_state("There is no training set yet: add a dataset first.", "data", "Add a dataset")
        return None
    datasets = set(list_datasets(workspace))
    chosen = open_set(
        workspace,
        choose(
            "Training set",
            names,
            "set",
            format_func=lambda n: f"{n} (official, as it is)" if n in datasets else n,
            resets=resets,
        ),
    )
    counts = ", ".join(f"{c} {n}" for c, n in chosen.counts.items())
    st.caption(
        f"{counts}; {chosen.ratio:.1f} : 1; split {chosen.config.split}, skew {chosen.config.skew}"
        + (f", poses {', '.join(chosen.config.poses)}" if chosen.config.poses else "")
    )
    return chosen


def save_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Save a training set, and keep its name for the line beside the button."""
    made = make_set(workspace, name, config)
    st.session_state[SAVED] = name
    return made


def just_saved(workspace: Workspace, dataset: str) -> TrainingSet | None:
    """The set of `dataset` that was saved last since somebody came to this page."""
    name = st.session_state.get(SAVED)
    if name not in list_sets(workspace):
        return None
    made = open_set(workspace, name)
    return made if made.config.dataset == dataset else None


def saved_message(made: TrainingSet) -> str:
    """What is shown once a training set is saved: its name and size."""
    return f"Saved {made.name}: {len(made.train):,} training images."


def warn_of_damaged(workspace: Workspace) -> None:
    """Name the synthetic sets that cannot be chosen because they cannot be read."""
    for sentence in open_all_synthetic(workspace)[1].values():
        st.warning(escape_markdown(sentence))
