"""Rebalance Studio: navigation, theme, first-run check; nothing else."""

import streamlit as st

from pages.parts.frame import check_first_run, foot, navigate

st.set_page_config(page_title="Rebalance Studio", page_icon=":material/balance:", layout="wide")
page = navigate()
if check_first_run():
    page.run()
foot()
