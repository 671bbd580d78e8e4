"""Filters that create a new synthetic set, and the images that they removed."""

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

SHOWN = 60  # removed images per class
SAME_PICTURE = "Also mirrored, flipped or turned, as far as the dataset's symmetries allow."


def filters(workspace: Workspace, synthetic: SyntheticSet) -> None:
    if synthetic.provenance.filters:
        _removed(workspace, synthetic)
    st.caption(
        f"Filters create a new set from the images of {escape_markdown(synthetic.name)} that pass; "
        "this set is not changed. They use only the real images of the training set."
    )
    columns = st.columns(4, vertical_alignment="bottom")
    confidence = columns[0].number_input(
        "Minimum confidence",
        0.01,
        0.99,
        None,
        0.05,
        placeholder="any",
        key=f"sure {synthetic.name}",
        help="The probability of its class that a ResNet-18 trained on the real images gives it.",
    )
    distance = columns[1].number_input(
        "Maximum distance (quantile)",
        0.01,
        1.0,
        None,
        0.05,
        placeholder="any",
        key=f"far {synthetic.name}",
        help="Removes images farther from their nearest real image than this fraction of real "
        "images is from theirs, in the features of that network.",
    )
    copies = columns[2].checkbox(
        "No near-copies of training images", help=SAME_PICTURE, key=f"copies {synthetic.name}"
    )
    twins = columns[3].checkbox(
        "No near-copies of each other", help=SAME_PICTURE, key=f"twins {synthetic.name}"
    )
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    suggestion = free_name(f"{synthetic.name}-filtered", list_synthetic(workspace), numbered=True)
    with left:
        name = name_field("Name of the filtered set", suggestion, f"name filtered {synthetic.name}")
    config = {
        "synthetic": synthetic.name,
        "name": name,
        "confidence": confidence,
        "distance": distance,
        "copies": copies,
        "twins": twins,
    }
    has_no_filter = not (confidence or distance or copies or twins)
    if right.button("Filter", key=f"filter {synthetic.name}", disabled=has_no_filter):
        apply(lambda: submit_filter(workspace, FilterConfig.build(**config)), submitted_message)
    watch_filter(workspace, synthetic)


def submit_filter(workspace: Workspace, config: FilterConfig) -> RunView:
    """Start a filter and select the set that it creates."""
    view = start_run(workspace, config)
    remember("synthetic", config.name)
    return view


def watch_filter(workspace: Workspace, synthetic: SyntheticSet) -> None:
    """Render the newest filter run of this set until it is done."""
    job_panel(
        latest_run(workspace, "filter", lambda v: v.config.get("synthetic") == synthetic.name)
    )


def _removed(workspace: Workspace, synthetic: SyntheticSet) -> None:
    """The counts that each filter removed, and the images while their set exists."""
    for step in synthetic.provenance.filters:
        counts = ", ".join(f"{label} {len(n)}" for label, n in step.removed.items())
        st.markdown(
            f"Removed from **{escape_markdown(step.source.name)}**, {_describe(step)}: "
            f"{escape_markdown(counts)}."
        )
    label = st.segmented_control(
        "Removed, of class",
        list(synthetic.counts),
        default=next(iter(synthetic.counts)),
        key=f"out {synthetic.name}",
    ) or next(iter(synthetic.counts))
    removed = removed_images(workspace, synthetic, label)
    tiles = [
        Tile(each.image, _source(each.file), f"{each.image}\n{each.reason}", each.image)
        for each in removed[:SHOWN]
        if each.file is not None
    ]
    if tiles:
        gallery([Group(tiles)], key=f"removed {synthetic.name} {label}")
    if not removed:
        st.caption(f"No image of {escape_markdown(label)} was removed.")
    elif not tiles:
        st.caption("The set that they were removed from no longer exists, nor do the images:")
        st.text(", ".join(each.image for each in removed[:SHOWN]))
    if len(removed) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(removed)}.")


def _describe(step: FilterStep) -> str:
    """The reason of a filter, with its threshold."""
    value = step.value
    threshold = f" ({value:g})" if isinstance(value, float) else ""
    return REASONS.get(step.name, step.name) + threshold


def _source(file: Path) -> str:
    """A generated image as the source of a tile."""
    return f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}"
