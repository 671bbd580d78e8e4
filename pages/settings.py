"""What the studio runs on here, in one place, and what each of it means for the work."""

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.frame import run_page
from rebalance_core.doctor import examine_apart, look, meanings
from rebalance_core.workspace import Workspace

CHECKED = "checked settings"  # session key: what the check with torch found


def render(workspace: Workspace) -> None:
    facts: dict[str, Any] = look(workspace)
    if CHECKED in st.session_state:
        # What torch said stays true; room and memory are looked at again.
        facts = {**st.session_state[CHECKED], **facts}
    for problem in facts["problems"]:
        st.error(problem)
    if st.button("Check torch and the device", help="Takes some seconds, in its own process."):
        with st.spinner("Importing torch …", show_time=True):
            st.session_state[CHECKED] = examine_apart(workspace)
        st.rerun()
    if CHECKED in st.session_state:
        found = st.session_state[CHECKED]["problems"]
        for problem in (p for p in found if p not in facts["problems"]):
            st.error(problem)
        if not found:
            st.success("torch works here, and nothing needs mending.")
    table = pd.DataFrame(meanings(facts), columns=["Setting", "Here", "What it means"])
    st.table(table.set_index("Setting"))


run_page(render, "Settings", "What the studio runs on here, and what that means for your work.")
