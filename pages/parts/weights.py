"""Pretrained weights that are not on this machine: fetched on a click, or from a named file."""

from pathlib import Path

import streamlit as st

from pages.parts.live import apply, job_panel, latest_run
from rebalance_core.poses.extractors import DOWNLOADS, NETWORKS, NetworkName
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.runs.start import start_run
from rebalance_core.workspace import Workspace


def get_weights(workspace: Workspace, network: NetworkName) -> None:
    title, size = NETWORKS[network].title, DOWNLOADS[network].megabytes
    getting = latest_run(workspace, "weights", lambda v: v.config.get("network") == network)
    busy = getting is not None and getting.live
    with st.container(border=True):
        st.markdown(f"**{title}'s pretrained weights are not on this machine.**")
        left, right = st.columns(2, vertical_alignment="bottom")
        file = right.text_input(
            "… or name a local file of them", placeholder="/path/to/weights.pth", disabled=busy
        )
        config = WeightsConfig(network=network, file=file or None)
        label = f"Use {Path(file).name}" if file else f"Fetch {title}'s weights ({size} MB)"
        if left.button(label, icon=":material/download:", disabled=busy):
            apply(lambda: start_run(workspace, config))
        job_panel(getting)
