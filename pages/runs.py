"""Runs page: status, log, lineage, cancel, resume, rename, compare, remove, clean up."""

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
from rebalance_core.comparison.results import displayed_result
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
STATUSES = ("all", *LIVE, "done", "failed", "cancelled", "interrupted")
COLUMNS = (
    "Name",
    "Status",
    "Progress",
    "Stage",
    "Duration",
    "Size",
    "Parents",
    "Children",
    "Note",
    "Kind",
    "Created",
    "Id",
)
SMALL_LINEAGE = 3  # number of runs up to which the graph is not stretched to the page
MB = 2**20


def render(workspace: Workspace) -> None:
    views = list_runs(workspace)
    if not views:
        empty_state("No runs yet. Adding a dataset starts the first one.", "data", "Add a dataset")
        return
    _table(views, parents(workspace, views))
    labels = {v.id: f"{v.name} ({v.id})" for v in views}
    run_id = choose("Run", list(labels), "run", format_func=labels.__getitem__)
    view = next(v for v in views if v.id == run_id)
    if view.note:
        st.text(f"Note: {view.note}")
    render_run(view, render_training if view.kind == "train" else None)
    _details(workspace, views, view)
    _disk(workspace, views)


def _table(views: list[RunView], parents_of: dict[str, list[str]]) -> None:
    """Render a table of all runs or those of one status; the stage is shown for live runs."""
    counts = Counter(v.status for v in views)
    status = (
        st.segmented_control(
            "Status",
            STATUSES,
            default="all",
            key="status",
            format_func=lambda s: f"{s} {len(views) if s == 'all' else counts.get(s, 0)}",
        )
        or "all"
    )
    matches = [v for v in views if status in ("all", v.status)]
    names = {v.id: v.name for v in views}
    children = Counter(parent for run_parents in parents_of.values() for parent in run_parents)
    st.dataframe(
        pd.DataFrame([_row(v, parents_of[v.id], names, children[v.id]) for v in matches]),
        hide_index=True,
        column_order=[name for name in COLUMNS if name != "Stage" or any(v.live for v in matches)],
        column_config={
            "Progress": st.column_config.ProgressColumn(format="percent", width="small"),
            "Size": st.column_config.NumberColumn(format="%.1f MB", width="small"),
            "Children": st.column_config.NumberColumn(
                help="Number of runs derived directly from this one.", width="small"
            ),
        },
    )


def _row(
    view: RunView, parent_ids: list[str], names: dict[str, str], children: int
) -> dict[str, Any]:
    seconds = view.state.work_seconds if view.state.finished else None
    return {
        "Name": view.name,
        "Kind": view.kind,
        "Status": view.status,
        "Progress": 1.0 if view.status == "done" else view.progress.fraction,
        "Stage": view.progress.stage if view.live else "",
        "Created": f"{datetime.fromtimestamp(view.record.created):%Y-%m-%d %H:%M:%S}",
        "Duration": "" if seconds is None else format_duration(seconds),
        "Size": run_bytes(view) / MB,
        "Parents": ", ".join(names[parent] for parent in parent_ids),
        "Children": children,
        "Note": view.note,
        "Id": view.id,
    }


def _details(workspace: Workspace, views: list[RunView], view: RunView) -> None:
    """Render the selected part only; the other parts are neither computed nor sent.

    A segmented control instead of Streamlit's tabs, which take a third of the browser's time per
    rerun.
    """
    parts: dict[str, Callable[[], object]] = {
        "Log": lambda: poll_run(view, _show_log, REDRAW),
        "Lineage": lambda: _lineage(workspace, views, view),
        "Config": lambda: st.json({**view.record.model_dump(), "directory": str(view.path)}),
        "Compare configs": lambda: _compare(views, view),
        "Result": lambda: st.json(displayed_result(workspace, view)),
        "Name and note": lambda: _describe(workspace, view),
        "Remove": lambda: _remove(workspace, view),
    }
    selected = st.segmented_control(
        "Details",
        list(parts),
        default="Log",
        required=True,
        key="details",
        label_visibility="collapsed",
    )
    show_user_errors(parts[selected])()


def _show_log(view: RunView) -> None:
    lines = read_log(view.path)[0].splitlines()[-LOG_LINES:]
    # st.code would download a 1.5 MB syntax highlighter.
    text = escape("\n".join(lines) or "The log is empty.")
    st.html(f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{text}</pre>')


def _lineage(workspace: Workspace, views: list[RunView], view: RunView) -> None:
    graph = lineage(workspace, views, view.id)
    if graph.links:
        wide = len(graph.members) > SMALL_LINEAGE
        st.graphviz_chart(graph.to_dot(view.id), width="stretch" if wide else "content")
        st.caption("Ancestors and descendants of this run (thick frame).")
    else:
        st.markdown("This run has no parents and no descendants.")


def _compare(views: list[RunView], view: RunView) -> None:
    others = {v.id: f"{v.name} ({v.id})" for v in views if v.id != view.id}
    if not others:
        st.markdown("There is no other run yet to compare with this one.")
        return
    same_kind = [v.id for v in views if v.kind == view.kind and v.id != view.id]
    first = list(others).index(same_kind[0]) if same_kind else 0
    other_id = st.selectbox(
        "Compare with",
        list(others),
        index=first,
        format_func=others.__getitem__,
        key=f"with {view.id}",
    )
    other = next(v for v in views if v.id == other_id)
    differences = config_differences(view, other)
    if not differences:
        st.markdown("The two configs are identical.")
        return
    rows = [(field, str(left), str(right)) for field, (left, right) in differences.items()]
    columns = ["Field", "This run", "Other run"]
    st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True)


def _describe(workspace: Workspace, view: RunView) -> None:
    with st.form(f"describe {view.id}", border=False):
        name = st.text_input("Name", view.name)
        note = st.text_area("Note", view.note, help="Stored with the run.")
        if st.form_submit_button("Save"):
            apply(
                lambda: describe(workspace, view.id, name=name, note=note),
                lambda renamed: f"Saved the name and note of run {renamed.name}.",
            )


def _remove(workspace: Workspace, view: RunView) -> None:
    summary = run_dependents(workspace, view.id).summary
    st.markdown(f"Permanently deletes `{view.path}` with its checkpoints and results.")
    with_dependents = False
    if summary:
        st.warning(f"Its dependents remain but cannot be continued: {escape_markdown(summary)}.")
        with_dependents = st.checkbox("Also remove the dependents", key=f"dependents {view.id}")
    confirmed = st.checkbox("Yes, remove this run", key=f"confirm {view.id}")
    if st.button("Remove", disabled=not confirmed or view_or_damaged(view.path).live):
        remove = remove_run_with_dependents if with_dependents else remove_run
        message = f"Removed run {view.name}{' and its dependents' if with_dependents else ''}."
        apply(lambda: remove(workspace, view.id), message)


def _disk(workspace: Workspace, views: list[RunView]) -> None:
    sizes: Counter[str] = Counter()
    for view in views:
        sizes[view.kind] += run_bytes(view)
    title = f"Disk: runs use {sum(sizes.values()) / MB:,.1f} MB"
    disk = st.expander(title, icon=":material/hard_drive:", key="disk", on_change="rerun")
    if not disk.open:
        return
    spare = sum(checkpoint.bytes for checkpoint in spare_checkpoints(workspace)) / MB
    with disk:
        for kind, size in sizes.most_common():
            st.markdown(f"{kind}: {size / MB:,.1f} MB")
        st.markdown(
            f"**{spare:,.1f} MB** of checkpoints are no longer needed: all checkpoints of runs "
            "that are done, and all but the last of other ended runs. Leftovers of killed "
            "processes are also removed."
        )
        if st.button("Clean up"):
            apply(lambda: clean(workspace), lambda freed: f"Freed {freed / MB:,.1f} MB.")


run_page(
    render,
    "Runs",
    "All active and past runs; a run continues when the page or the server is closed.",
)
