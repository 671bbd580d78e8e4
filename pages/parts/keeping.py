"""Look through all images of a class and throw single ones away, into a new set without them."""

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
THROWN = "✕ thrown away"


def keep_or_throw(workspace: Workspace, found: SyntheticSet) -> None:
    # Not of another set that had this name.
    key = f"thrown {found.name} {found.provenance.created}"
    thrown: set[str] = st.session_state.setdefault(key, set())
    labels = list(found.counts)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    label = left.segmented_control("Class", labels, default=labels[0], key=f"{key} class")
    label = label or labels[0]
    files = found.files(label)
    pages = max(1, -(-len(files) // PAGE))
    page = right.number_input(f"Page of {pages:,}", 1, pages, 1, key=f"{key} page {label}")
    some = files[(page - 1) * PAGE : page * PAGE]
    names = [f"{label}/{file.name}" for file in some]
    tiles = [
        picture_tile(name, pixels, THROWN, "out")
        if name in thrown
        else picture_tile(name, pixels, file.stem)
        for name, file, pixels in zip(names, some, upscale(found.images_of(some)), strict=True)
    ]
    st.caption("Click an image to throw it away, once more to keep it.")
    clicked = gallery([Group(tiles)], key=f"{key} tiles", cursor="pointer")
    if clicked:
        thrown ^= {clicked}
        st.session_state[key] = thrown
        st.rerun()
    suggestion = free_name(f"{found.name}-kept", list_synthetic(workspace), numbered=True)
    name = name_field("Name of the set without them", suggestion, f"{key} name")
    with st.container(horizontal=True):
        make = st.button(
            f"Make it without {len(thrown)}", type="primary", disabled=not thrown, key=f"{key} make"
        )
        keep = st.button("Keep all again", disabled=not thrown, key=f"{key} all")
    if keep:
        st.session_state[key] = set()
        st.rerun()
    if make:
        config = {"synthetic": found.name, "name": name, "without": tuple(sorted(thrown))}
        apply(lambda: submit_filter(workspace, FilterConfig.build(**config)), submitted_message)
    watch_filter(workspace, found)
    st.caption(
        f"{escape_markdown(found.name)} is not changed. The provenance of the new set lists the "
        "images discarded by hand."
    )
