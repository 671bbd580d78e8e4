"""Select images of a class to discard, and create a set without them."""

import streamlit as st

from pages.parts.beside import picture_tile
from pages.parts.filters import submit_filter, watch_filter
from pages.parts.gallery import Group, gallery
from pages.parts.live import apply, submitted_message
from pages.parts.markdown import escape_markdown
from pages.parts.naming import name_field
from rebalance_core.synthesis.filtering import FilterConfig
from rebalance_core.synthesis.pictures import upscale
from rebalance_core.synthesis.synthetic_set import SyntheticSet, list_synthetic
from rebalance_core.workspace import Workspace, free_name

PAGE = 48  # images at once
DISCARDED = "✕ discarded"


def curate(workspace: Workspace, synthetic: SyntheticSet) -> None:
    # The creation time tells it from an earlier set of this name.
    key = f"discarded {synthetic.name} {synthetic.provenance.created}"
    discarded: set[str] = st.session_state.setdefault(key, set())
    labels = list(synthetic.counts)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    label = left.segmented_control("Class", labels, default=labels[0], key=f"{key} class")
    label = label or labels[0]
    files = synthetic.files(label)
    pages = max(1, -(-len(files) // PAGE))
    page = right.number_input(f"Page of {pages:,}", 1, pages, 1, key=f"{key} page {label}")
    page_files = files[(page - 1) * PAGE : page * PAGE]
    names = [f"{label}/{file.name}" for file in page_files]
    tiles = [
        picture_tile(name, pixels, DISCARDED, "out")
        if name in discarded
        else picture_tile(name, pixels, file.stem)
        for name, file, pixels in zip(
            names, page_files, upscale(synthetic.images_of(page_files)), strict=True
        )
    ]
    st.caption("Click an image to discard it, click it again to keep it.")
    clicked = gallery([Group(tiles)], key=f"{key} tiles", cursor="pointer")
    if clicked:
        discarded ^= {clicked}
        st.session_state[key] = discarded
        st.rerun()
    suggestion = free_name(f"{synthetic.name}-kept", list_synthetic(workspace), numbered=True)
    name = name_field("Name of the set without them", suggestion, f"{key} name")
    with st.container(horizontal=True):
        create = st.button(
            f"Create a set without {len(discarded)}",
            type="primary",
            disabled=not discarded,
            key=f"{key} make",
        )
        keep = st.button("Keep all", disabled=not discarded, key=f"{key} all")
    if keep:
        st.session_state[key] = set()
        st.rerun()
    if create:
        config = {"synthetic": synthetic.name, "name": name, "without": tuple(sorted(discarded))}
        apply(lambda: submit_filter(workspace, FilterConfig.build(**config)), submitted_message)
    watch_filter(workspace, synthetic)
    st.caption(
        f"{escape_markdown(synthetic.name)} is not changed. The provenance of the new set lists "
        "the images discarded by hand."
    )
