"""Every run: status, progress, log, family, cancel, resume, rename, compare, remove, clean up."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.choose import choose
from pages.parts.frame import empty_state, run_page, show_user_errors
from pages.parts.live import REDRAW, apply, format_duration, poll_run, render_run, render_training
from pages.parts.markdown import escape_markdown
from rebalance_core.comparison.results import shown_result
from rebalance_core.removal import remove_run_with_dependents, run_dependents
from rebalance_core.runs.directory import LIVE
from rebalance_core.runs.executor import RunView, describe, list_runs, remove_run, view_or_damaged
from rebalance_core.runs.lineage import lineage, parents
from rebalance_core.runs.upkeep import (
    clean,
    config_differences,
    read_log,
    run_bytes,
    spare_checkpoints,
)
from rebalance_core.workspace import Workspace

LOG_LINES = 40
SHOWN = ("all", *LIVE, "done", "failed", "cancelled", "interrupted")
COLUMNS = (
    "Name",
    "Status",
    "Progress",
    "Stage",
    "Took",
    "Size",
    "Came from",
    "Led to",
    "Note",
    "Kind",
    "Created",
    "Id",
)
SMALL_FAMILY = 3  # runs, up to which the graph keeps its own size
MB = 2**20


def render(workspace: Workspace) -> None:
    views = list_runs(workspace)
    if not views:
        empty_state(
            "Nothing has run yet. Adding a dataset is the first run.", "data", "Add a dataset"
        )
        return
    came = parents(workspace, views)
    _table(views, came)
    named = {v.id: f"{v.name} ({v.id})" for v in views}
    run = choose("Run", list(named), "run", shown=lambda i: named[i])
    view = next(v for v in views if v.id == run)
    if view.note:
        st.text(f"Note: {view.note}")
    render_run(view, render_training if view.kind == "train" else None)
    _details(workspace, views, view)
    _disk(workspace, views)


def _table(views: list[RunView], came: dict[str, list[str]]) -> None:
    """All runs, or those of one status; the queue from its oldest on is told by their stage."""
    counts = Counter(v.status for v in views)
    status = (
        st.segmented_control(
            "Show",
            SHOWN,
            default="all",
            key="shown",
            format_func=lambda s: f"{s} {len(views) if s == 'all' else counts.get(s, 0)}",
        )
        or "all"
    )
    shown = [v for v in views if status in ("all", v.status)]
    names = {v.id: v.name for v in views}
    children = Counter(parent for parents_ in came.values() for parent in parents_)
    st.dataframe(
        pd.DataFrame([_row(v, came, names, children[v.id]) for v in shown]),
        hide_index=True,
        column_order=[name for name in COLUMNS if name != "Stage" or any(v.live for v in shown)],
        column_config={
            "Progress": st.column_config.ProgressColumn(format="percent", width="small"),
            "Size": st.column_config.NumberColumn(format="%.1f MB", width="small"),
            "Led to": st.column_config.NumberColumn(help="Runs that came of it.", width="small"),
        },
    )


def _row(
    view: RunView, came: dict[str, list[str]], names: dict[str, str], children: int
) -> dict[str, Any]:
    started, finished = view.state.get("started"), view.state.get("finished")
    took = format_duration(finished - started) if started and finished else ""
    return {
        "Name": view.name,
        "Kind": view.kind,
        "Status": view.status,
        "Progress": 1.0 if view.status == "done" else view.progress["fraction"],
        "Stage": view.progress["stage"] if view.live else "",
        "Created": f"{datetime.fromtimestamp(view.record['created']):%Y-%m-%d %H:%M:%S}",
        "Took": took,
        "Size": run_bytes(view) / MB,
        "Came from": ", ".join(names[parent] for parent in came[view.id]),
        "Led to": children,
        "Note": view.note,
        "Id": view.id,
    }


def _details(workspace: Workspace, views: list[RunView], view: RunView) -> None:
    """Only what is chosen is drawn: what the rest needs is neither computed nor sent. (Streamlit's
    tabs take a third of the time that the browser needs for each look at the page.)"""
    parts: dict[str, Callable[[], object]] = {
        "Log": lambda: poll_run(view, _log, REDRAW),
        "Family": lambda: _family(workspace, views, view),
        "Config": lambda: st.json({**view.record, "directory": str(view.path)}),
        "Compare configs": lambda: _compare(views, view),
        "Result": lambda: st.json(shown_result(workspace, view)),
        "Name and note": lambda: _describe(workspace, view),
        "Remove": lambda: _remove(workspace, view),
    }
    chosen = st.segmented_control(
        "Details",
        list(parts),
        default="Log",
        required=True,
        key="details",
        label_visibility="collapsed",
    )
    show_user_errors(parts[chosen])()


def _log(view: RunView) -> None:
    lines = read_log(view.path)[0].splitlines()[-LOG_LINES:]
    # st.code would fetch a highlighter of 1.5 MB for what has no language.
    text = escape("\n".join(lines) or "The log is empty.")
    st.html(f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{text}</pre>')


def _family(workspace: Workspace, views: list[RunView], view: RunView) -> None:
    found = lineage(workspace, views, view.id)
    if found.links:
        wide = len(found.members) > SMALL_FAMILY
        st.graphviz_chart(found.to_dot(view.id), width="stretch" if wide else "content")
        st.caption("What this run (thick frame) came from, and what came of it.")
    else:
        st.markdown("Nothing that is here came of this run, nor did it come from another run.")


def _compare(views: list[RunView], view: RunView) -> None:
    others = {v.id: f"{v.name} ({v.id})" for v in views if v.id != view.id}
    if not others:
        st.markdown("There is no other run yet to compare this one with.")
        return
    same_kind = [v.id for v in views if v.kind == view.kind and v.id != view.id]
    first = list(others).index(same_kind[0]) if same_kind else 0
    chosen = st.selectbox(
        "With", list(others), index=first, format_func=lambda i: others[i], key=f"with {view.id}"
    )
    other = next(v for v in views if v.id == chosen)
    differs = config_differences(view, other)
    if not differs:
        st.markdown("Their configs are the same.")
        return
    rows = [(field, str(left), str(right)) for field, (left, right) in differs.items()]
    columns = ["Field", "This run", "The other"]
    st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True)


def _describe(workspace: Workspace, view: RunView) -> None:
    with st.form(f"describe {view.id}", border=False):
        name = st.text_input("Name", view.name)
        note = st.text_area("Note", view.note, help="Kept with the run, for you.")
        if st.form_submit_button("Keep"):
            apply(
                lambda: describe(workspace, view.id, name=name, note=note),
                lambda now: f"Saved the name and note of run {now.name}.",
            )


def _remove(workspace: Workspace, view: RunView) -> None:
    found = run_dependents(workspace, view.id)
    st.markdown(f"Removes `{view.path}` with its checkpoints and what it made there, for good.")
    too = False
    if found.summary:
        st.warning(
            f"What came of it stays, but cannot be continued: {escape_markdown(found.summary)}."
        )
        too = st.checkbox("Remove that as well", key=f"too {view.id}")
    sure = st.checkbox("Yes, remove this run", key=f"sure {view.id}")
    if st.button("Remove", disabled=not sure or view_or_damaged(view.path).live):
        remove = remove_run_with_dependents if too else remove_run
        done = f"Removed run {view.name}{' and its dependents' if too else ''}."
        apply(lambda: remove(workspace, view.id), done)


def _disk(workspace: Workspace, views: list[RunView]) -> None:
    sizes: Counter[str] = Counter()
    for view in views:
        sizes[view.kind] += run_bytes(view)
    title = f"Disk: runs take {sum(sizes.values()) / MB:,.1f} MB"
    disk = st.expander(title, icon=":material/hard_drive:", key="disk", on_change="rerun")
    if not disk.open:
        return
    free = sum(each.bytes for each in spare_checkpoints(workspace)) / MB
    with disk:
        for kind, size in sizes.most_common():
            st.markdown(f"{kind}: {size / MB:,.1f} MB")
        st.markdown(
            f"**{free:,.1f} MB** are checkpoints that nothing needs any more: all of runs that are "
            "done, all but the last of others that ended. What kills left behind goes too."
        )
        if st.button("Clean up"):
            apply(lambda: clean(workspace), lambda freed: f"Freed {freed / MB:,.1f} MB.")


run_page(render, "Runs", "Everything that runs or ran; each outlives this page and the server.")
