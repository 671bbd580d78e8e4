"""Pretrained weights: downloaded on a click, or read from a local file."""

from pathlib import Path

import streamlit as st

from pages.parts.live import apply, job_panel, latest_run
from rebalance_core.poses.extractors import DOWNLOADS, NETWORKS, NetworkName
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace


def get_weights(workspace: Workspace, network: NetworkName) -> None:
    """Offer a download of a network's weights or a local file, and render its run."""
    title, size = NETWORKS[network].title, DOWNLOADS[network].megabytes
    newest = latest_run(workspace, "weights", lambda v: v.config.get("network") == network)
    busy = newest is not None and newest.live
    with st.container(border=True):
        st.markdown(f"**{title}'s pretrained weights are not on this machine.**")
        left, right = st.columns(2, vertical_alignment="bottom")
        file = right.text_input(
            "… or the path of a local file", placeholder="/path/to/weights.pth", disabled=busy
        )
        config = WeightsConfig(network=network, file=file or None)
        label = f"Use {Path(file).name}" if file else f"Download {title}'s weights ({size} MB)"
        if left.button(label, icon=":material/download:", disabled=busy):
            apply(lambda: start_run(workspace, config))
        job_panel(newest)
