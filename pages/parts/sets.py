"""Select a training set, and save a new one."""

import streamlit as st

from pages.parts.choose import SAVED, choose
from pages.parts.frame import empty_state
from pages.parts.markdown import escape_markdown
from rebalance_core.datasets.dataset import list_datasets
from rebalance_core.synthesis.synthetic_set import open_all_synthetic
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    make_subset,
    open_set,
)
from rebalance_core.workspace import Workspace


def choose_set(workspace: Workspace, resets: str) -> TrainingSet | None:
    """Select a training set and render its counts; None, with a hint, if there is none.

    Selecting another set discards the selection of the key `resets`.
    """
    names = [*list_sets(workspace), *list_datasets(workspace)]
    if not names:
        empty_state("There is no training set yet: add a dataset first.", "data", "Add a dataset")
        return None
    datasets = set(list_datasets(workspace))
    training_set = open_set(
        workspace,
        choose(
            "Training set",
            names,
            "set",
            format_func=lambda n: f"{n} (official, as it is)" if n in datasets else n,
            resets=resets,
        ),
    )
    config = training_set.config
    counts = ", ".join(f"{c} {n}" for c, n in training_set.counts.items())
    st.caption(
        f"{counts}; {training_set.ratio:.1f} : 1; split {config.split}, skew {config.skew}"
        + (f", poses {', '.join(config.poses)}" if config.poses else "")
    )
    return training_set


def save_set(workspace: Workspace, name: str, config: SetConfig) -> TrainingSet:
    """Save a training set and remember its name for the message next to the button."""
    training_set = make_set(workspace, name, config)
    st.session_state[SAVED] = name
    return training_set


def save_subset(workspace: Workspace, name: str, parent: str, poses: list[str]) -> TrainingSet:
    """Save the images of a saved set that have one of `poses`, as `save_set`."""
    training_set = make_subset(workspace, name, open_set(workspace, parent), poses)
    st.session_state[SAVED] = name
    return training_set


def last_saved_set(workspace: Workspace, dataset: str) -> TrainingSet | None:
    """The set of `dataset` that was last saved on this visit to the page, or None."""
    name = st.session_state.get(SAVED)
    if name not in list_sets(workspace):
        return None
    training_set = open_set(workspace, name)
    return training_set if training_set.config.dataset == dataset else None


def saved_message(training_set: TrainingSet) -> str:
    """Message with the name and size of a newly saved training set."""
    return f"Saved {training_set.name}: {len(training_set.train):,} training images."


def warn_of_damaged(workspace: Workspace) -> None:
    """Render a warning for each synthetic set that cannot be read."""
    for sentence in open_all_synthetic(workspace)[1].values():
        st.warning(escape_markdown(sentence))
