"""Filters that make a new synthetic set, and what they took out of it."""

from base64 import b64encode
from pathlib import Path

import streamlit as st

from pages.parts.choose import remember
from pages.parts.gallery import Group, Tile, gallery
from pages.parts.live import apply, job_panel, latest_run, submitted_message
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.start import start_run
from rebalance_core.synthesis.filtering import REASONS, FilterConfig, removed_images
from rebalance_core.synthesis.records import FilterStep
from rebalance_core.synthesis.synthetic_set import SyntheticSet, list_synthetic
from rebalance_core.workspace import Workspace, free_name

SHOWN = 60  # removed images of a class
MISSED = "Mirrored, flipped and turned copies are not found."


def filters(workspace: Workspace, found: SyntheticSet) -> None:
    if found.provenance.filters:
        _removed(workspace, found)
    st.caption(
        f"Filters create a new set from the images of {escape_markdown(found.name)} that pass; "
        "this set is not changed. They use only the real images of the training set."
    )
    columns = st.columns(4, vertical_alignment="bottom")
    confidence = columns[0].number_input(
        "Least confidence",
        0.01,
        0.99,
        None,
        0.05,
        placeholder="any",
        key=f"sure {found.name}",
        help="The probability of its class that a ResNet-18 trained on the real images gives it.",
    )
    distance = columns[1].number_input(
        "Farthest, quantile",
        0.01,
        1.0,
        None,
        0.05,
        placeholder="any",
        key=f"far {found.name}",
        help="No image farther from its nearest real one than this share of the real images are "
        "from theirs, in that network's features.",
    )
    copies = columns[2].checkbox(
        "No copies of training images", help=MISSED, key=f"copies {found.name}"
    )
    twins = columns[3].checkbox("No copies of each other", help=MISSED, key=f"twins {found.name}")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    suggestion = free_name(f"{found.name}-filtered", list_synthetic(workspace), numbered=True)
    with left:
        name = name_field("Name of the filtered set", suggestion, f"name filtered {found.name}")
    config = {
        "synthetic": found.name,
        "name": name,
        "confidence": confidence,
        "distance": distance,
        "copies": copies,
        "twins": twins,
    }
    nothing = not (confidence or distance or copies or twins)
    if right.button("Filter", key=f"filter {found.name}", disabled=nothing):
        apply(lambda: submit_filter(workspace, FilterConfig.build(**config)), submitted_message)
    watch_filter(workspace, found)


def submit_filter(workspace: Workspace, config: FilterConfig) -> RunView:
    """Start a filter; what it makes becomes the choice."""
    view = start_run(workspace, config)
    remember("synthetic", config.name)
    return view


def watch_filter(workspace: Workspace, found: SyntheticSet) -> None:
    """Show the newest filter of this set until it is done."""
    job_panel(latest_run(workspace, "filter", lambda v: v.config.get("synthetic") == found.name))


def _removed(workspace: Workspace, found: SyntheticSet) -> None:
    """How many each filter took out, and the pictures as long as their set is there."""
    for step in found.provenance.filters:
        counts = ", ".join(f"{label} {len(n)}" for label, n in step.removed.items())
        st.markdown(
            f"Removed from **{escape_markdown(step.source.name)}**, {_asked(step)}: "
            f"{escape_markdown(counts)}."
        )
    label = st.segmented_control(
        "Taken out, of class",
        list(found.counts),
        default=next(iter(found.counts)),
        key=f"out {found.name}",
    ) or next(iter(found.counts))
    removed = removed_images(workspace, found, label)
    tiles = [
        Tile(each.image, _source(each.file), f"{each.image}\n{each.reason}", each.image)
        for each in removed[:SHOWN]
        if each.file is not None
    ]
    if tiles:
        gallery([Group(tiles)], key=f"removed {found.name} {label}")
    if not removed:
        st.caption(f"Nothing of {escape_markdown(label)} was taken out.")
    elif not tiles:
        st.caption("The set they were taken from is gone, and their pictures with it:")
        st.text(", ".join(each.image for each in removed[:SHOWN]))
    if len(removed) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(removed)}.")


def _asked(step: FilterStep) -> str:
    """What a filter went by, in words."""
    value = step.value
    told = f" ({value:g})" if isinstance(value, float) else ""
    return REASONS.get(step.name, step.name) + told


def _source(file: Path) -> str:
    """A generated image as the source of a tile."""
    return f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}"
