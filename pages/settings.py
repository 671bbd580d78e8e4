"""Settings page: the environment of the studio and what it means for the work."""

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.frame import run_page
from rebalance_core.doctor import explain, full_checks_in_subprocess, quick_checks
from rebalance_core.workspace import Workspace

FULL_CHECKS = "full checks"  # session key: results of the checks that import torch


def render(workspace: Workspace) -> None:
    facts: dict[str, Any] = quick_checks(workspace)
    if FULL_CHECKS in st.session_state:
        # The results with torch stay valid; free disk and memory are measured again.
        facts = {**st.session_state[FULL_CHECKS], **facts}
    for problem in facts["problems"]:
        st.error(problem)
    if st.button("Check torch and the device", help="Takes a few seconds, in a separate process."):
        with st.spinner("Importing torch …", show_time=True):
            st.session_state[FULL_CHECKS] = full_checks_in_subprocess(workspace)
        st.rerun()
    if FULL_CHECKS in st.session_state:
        problems = st.session_state[FULL_CHECKS]["problems"]
        for problem in (p for p in problems if p not in facts["problems"]):
            st.error(problem)
        if not problems:
            st.success("torch works and no problems were found.")
    table = pd.DataFrame(explain(facts), columns=["Setting", "Value", "Meaning"])
    st.table(table.set_index("Setting"))


run_page(render, "Settings", "The environment the studio runs in, and what it means for your work.")
