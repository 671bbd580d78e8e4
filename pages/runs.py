"""Every run: status, progress, log, what it came from, cancel, resume, remove."""

from datetime import datetime

import pandas as pd
import streamlit as st

from pages.parts.choose import choose
from pages.parts.frame import link, show
from pages.parts.live import act, duration, training, watch
from rebalance_core.runs.executor import RunView, list_runs, remove_run
from rebalance_core.workspace import Workspace

LOG_LINES = 40


def draw(workspace: Workspace) -> None:
    views = list_runs(workspace)
    if not views:
        st.info("Nothing has run yet. Adding a dataset is the first run.")
        link("data", "Add a dataset")
        return
    st.dataframe(pd.DataFrame([_row(v) for v in views]), hide_index=True)
    named = {v.id: f"{v.name} ({v.id})" for v in views}
    run = choose("Run", list(named), "run", shown=lambda i: named[i])
    view = next(v for v in views if v.id == run)
    watch(view, training if view.kind == "train" else None)
    _details(workspace, view)


def _row(view: RunView) -> dict[str, str]:
    started, finished = view.state.get("started"), view.state.get("finished")
    took = duration(finished - started) if started and finished else ""
    return {
        "Name": view.name,
        "Kind": view.kind,
        "Status": view.status,
        "Progress": f"{view.progress['fraction']:.0%}" if view.live else "",
        "Created": f"{datetime.fromtimestamp(view.record['created']):%Y-%m-%d %H:%M:%S}",
        "Took": took,
        "Id": view.id,
    }


def _details(workspace: Workspace, view: RunView) -> None:
    log, config, result, remove = st.tabs(["Log", "Config", "Result", "Remove"])
    with log:
        path = view.path / "log.txt"
        text = path.read_text(errors="replace") if path.exists() else ""
        st.code("\n".join(text.splitlines()[-LOG_LINES:]) or "The log is empty.", language=None)
    with config:
        st.json({**view.record, "directory": str(view.path)})
    with result:
        st.json(view.result)
    with remove:
        st.markdown(f"Removes `{view.path}` with its checkpoints and what it made there, for good.")
        sure = st.checkbox("Yes, remove this run", key=f"sure {view.id}")
        if st.button("Remove", disabled=not sure or view.live):
            act(lambda: remove_run(workspace, view.id))


show(draw, "Runs", "Everything that runs or ran; each outlives this page and the server.")
