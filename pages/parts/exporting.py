"""Export a synthetic set, or remove it."""

from pathlib import Path

import streamlit as st

from pages.parts.live import apply
from rebalance_core.synthesis.exporting import export_synthetic, zip_synthetic
from rebalance_core.synthesis.synthetic_set import SyntheticSet, remove_synthetic
from rebalance_core.workspace import Workspace


def export(workspace: Workspace, synthetic: SyntheticSet) -> None:
    st.caption(
        "One folder of images per class, with provenance.json: generator, training set, seed, "
        "sampler, filters. Generated images do not show real patients; not for diagnosis."
    )
    key = f"zip {synthetic.name} {synthetic.provenance.created}"
    if st.button("Prepare the zip", key=f"prepare {key}"):

        def prepare() -> None:
            st.session_state[key] = zip_synthetic(workspace, synthetic.name)

        apply(prepare)
    archive: Path | None = st.session_state.get(key)
    if archive is not None and archive.exists():
        with archive.open("rb") as file:
            st.download_button(
                f"Download {archive.stat().st_size / 2**20:,.1f} MB",
                file,
                archive.name,
                mime="application/zip",
                icon=":material/download:",
                key=f"download {key}",
            )
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    target = left.text_input(
        "Or a new folder on this machine",
        placeholder=f"…/{synthetic.name}",
        key=f"folder {synthetic.name}",
    )
    if right.button("Copy there", disabled=not target, key=f"copy {synthetic.name}"):
        apply(
            lambda: export_synthetic(workspace, synthetic.name, Path(target.strip())),
            lambda path: f"Copied to {path}.",
        )
    offer_removal(workspace, synthetic.name)


def offer_removal(workspace: Workspace, name: str) -> None:
    """Remove a synthetic set, readable or not."""
    with st.expander("Remove this synthetic set", icon=":material/delete:"):
        sure = st.checkbox(f"Yes, remove {name} with all its images")
        if st.button("Remove", disabled=not sure):
            apply(lambda: remove_synthetic(workspace, name), f"Removed synthetic set {name}.")
