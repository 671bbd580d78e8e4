"""Live view of a run: status, progress, remaining time, curves, previews, cancel, resume.

The run is another process; its directory is polled while it is live. Cheap elements (status,
progress) are polled often, expensive ones (curves, previews, log) less often.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from pages.parts.frame import notify, show_user_errors
from pages.parts.markdown import escape_markdown
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import run_set
from rebalance_core.plots.training import loss_curves, loss_groups
from rebalance_core.runs.executor import RunView, cancel, list_runs, resume, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.system.files import translate_disk_full
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    import plotly.graph_objects as go

T = TypeVar("T")
# Polling intervals in seconds. Each poll runs a script on the server and makes the browser walk the
# whole page, even if nothing changed (measured by benchmarks/watching_cost.py). For runs longer
# than SHORT_RUN seconds, the intervals grow by up to MAX_POLL_FACTOR.
POLL = 3.0  # status, progress
REDRAW = 10.0  # curves, previews, log
SHORT_RUN, MAX_POLL_FACTOR = 300.0, 3.0
PLOTS_PER_ROW = 2
DISMISSED = "dismissed"  # empty file in a run's directory
BADGES = {
    "queued": ("gray", ":material/hourglass_top:"),
    "running": ("blue", ":material/play_arrow:"),
    "done": ("green", ":material/check:"),
    "failed": ("red", ":material/error:"),
    "cancelled": ("orange", ":material/cancel:"),
    "interrupted": ("orange", ":material/power_off:"),
}


def latest_run(
    workspace: Workspace, kind: str, matches: Callable[[RunView], bool]
) -> RunView | None:
    """Return the newest run of a kind for which `matches` is true."""
    return next((v for v in list_runs(workspace, kind) if matches(v)), None)


def dismiss(view: RunView) -> None:
    """Hide the failure of a run from the page of its kind; the Runs page still shows it."""
    (view.path / DISMISSED).touch()


def is_dismissed(view: RunView) -> bool:
    return (view.path / DISMISSED).exists()


def run_label(view: RunView) -> str:
    """Label of a training run in a list: name, preset or origin, id."""
    preset = view.config.get("training", {}).get("preset", "no preset")
    origin = "from a folder" if view.config.get("folder") else preset
    return f"{view.name}, {origin} ({view.id})"


def poll_fragment(
    is_live: bool,
    load: Callable[[], T],
    still_live: Callable[[T], bool],
    render: Callable[[T], None],
    interval: float = POLL,
) -> None:
    """Render the result of `load`, repeatedly if it `is_live`, until it is not `still_live`.

    `interval` is in seconds. Fragments must not be nested.
    """

    @st.fragment(run_every=interval if is_live else None)
    @show_user_errors
    def fragment() -> None:
        state = load()
        if is_live and not still_live(state):
            # Rerun the whole page, since the run's results are available now. Rerun before
            # rendering, so that the final state does not flash on the outdated page.
            st.rerun()
        render(state)

    fragment()


def poll_run(view: RunView, render: Callable[[RunView], None], interval: float) -> None:
    """Render a run, every `interval` seconds or less often while it is live."""
    factor = poll_factor(view)
    poll_fragment(
        view.live,
        lambda: view_run(view.path),
        # Rerun the page if the run turns out to be much longer or shorter than estimated.
        lambda current: current.live and 0.5 < poll_factor(current) / factor < 2,
        render,
        interval * factor,
    )


def poll_factor(view: RunView) -> float:
    """Factor from 1 to MAX_POLL_FACTOR for polling intervals, by the run's expected duration."""
    left, started = view.progress.seconds_left, view.state.started
    if left is None or started is None:
        return 1.0
    return float(min(MAX_POLL_FACTOR, max(1.0, (time.time() - started + left) / SHORT_RUN)))


def render_run(view: RunView, render_details: Callable[[RunView], None] | None = None) -> None:
    """Render the status of a run, then the details of its kind; poll while it is live."""
    poll_run(view, _status, POLL)
    if render_details is not None:
        poll_run(view, render_details, REDRAW)


def job_panel(
    view: RunView | None, empty: str = "", render: Callable[[RunView], None] | None = None
) -> None:
    """Render the caption `empty` without a run, its status until it is done, then `render`."""
    if view is None:
        if empty:
            st.caption(empty)
    elif view.status != "done":
        render_run(view)
    elif render is not None:
        render(view)


def _status(view: RunView) -> None:
    workspace = Workspace(view.path.parent.parent)
    colour, icon = BADGES[view.status]
    left, right = st.columns([5, 1], vertical_alignment="center")
    with left:
        st.badge(view.status, color=colour, icon=icon)  # type: ignore[arg-type]
        if view.live:
            st.progress(view.progress.fraction, text=progress_text(view))
            if view.warning:
                st.warning(view.warning)
        elif view.state.reason:
            message = escape_markdown(f"{view.name}: {view.state.reason}")
            (st.error if view.status == "failed" else st.warning)(message)
    with right:
        if view.live and st.button("Cancel", key=f"cancel {view.id}", disabled=view.stopping):
            apply(lambda: cancel(workspace, view.id))
        if view.status in ("failed", "cancelled", "interrupted") and st.button(
            "Resume", key=f"resume {view.id}", help="Continues from the last checkpoint."
        ):
            apply(lambda: resume(workspace, view.id))


def progress_text(view: RunView) -> str:
    if view.stopping:
        return "stopping, saving a checkpoint …"
    stage, left = view.progress.stage, view.progress.seconds_left
    text = f"{escape_markdown(stage or 'starting')} ({view.progress.fraction:.0%})"
    return text if left is None else f"{text}, about {format_duration(left)} left"


def format_duration(seconds: float) -> str:
    """Format a duration as `42 s`, `3 min`, `1 h 20 min` or `2 days`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes / 60 / 24:.0f} days"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def apply(action: Callable[[], T], message: str | Callable[[T], str] = "") -> None:
    """Run the action of a button, rerun the page and show `message` (or `message(result)`).

    A UserError is shown in place and does not rerun the page.
    """
    try:
        with translate_disk_full(Workspace.from_environment().root):
            result = action()
    except UserError as error:
        st.error(escape_markdown(str(error)))
        return
    if message:
        notify(message(result) if callable(message) else message)
    st.rerun()


def submitted_message(view: RunView) -> str:
    """Message for a newly submitted run."""
    return f"Submitted: {view.name}."


def render_training(view: RunView) -> None:
    """Render loss curves with the last step, and previews with a slider over earlier steps."""
    metrics = read_metrics(view.path)
    if metrics:
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        left.markdown(f"Last step **{metrics[-1]['step']}**")
        smoothing = right.slider(
            "Smoothing",
            0.0,
            0.99,
            0.0,
            0.01,
            key=f"smoothing {view.id}",
            help="Weight of past values in the moving average; the raw curve stays visible, faded.",
        )
        spec = generator_specs().get(view.config.get("generator", ""))
        groups = loss_groups(metrics, spec.plot_groups if spec else ())
        for start in range(0, len(groups), PLOTS_PER_ROW):
            row = groups[start : start + PLOTS_PER_ROW]
            for column, names in zip(st.columns(PLOTS_PER_ROW), row, strict=False):
                figure = _curves(
                    view.path, len(metrics), metrics[-1].get("time", 0.0), tuple(names), smoothing
                )
                column.plotly_chart(figure, key=f"loss {names} {view.id}")
    previews: dict[str, list[Path]] = {}
    for image in sorted((view.path / "previews").glob("[!.]*-[0-9]*.png")):
        previews.setdefault(image.stem.rpartition("-")[0], []).append(image)
    # Most recently updated first.
    for name in sorted(previews, key=lambda n: -_step(previews[n][-1])):
        _preview(view, name, previews[name])


def _step(image: Path) -> int:
    return int(image.stem.rpartition("-")[2])


@lru_cache(maxsize=64)
def _curves(
    path: Path, line_count: int, last_time: float, names: tuple[str, ...], smoothing: float
) -> "go.Figure":
    """Loss curves, cached across sessions until the metrics (`line_count`, `last_time`) change."""
    return loss_curves(read_metrics(path), list(names), smoothing)


def _preview(view: RunView, name: str, images: list[Path]) -> None:
    """Render the newest preview, or the one selected by the slider.

    While the run is live, the range of the slider is frozen when it is opened, so that its end does
    not move.
    """
    steps = [_step(image) for image in images]
    key, step = f"preview {name} {view.id}", steps[-1]
    frozen = f"{key} frozen"
    if len(steps) > 1 and view.live and not st.toggle("Show earlier steps", key=f"{key} earlier"):
        st.session_state.pop(frozen, None)
    elif len(steps) > 1:
        choices = st.session_state.setdefault(frozen, steps) if view.live else steps
        step = st.select_slider(f"{name}: step", choices, value=choices[-1], key=key)
    caption = f"{name}, step {step}"
    if description := _describe_rows(view, name):
        caption += f"; {description}"
    st.image(images[steps.index(step)].read_bytes(), caption=caption, width="stretch")


def _describe_rows(view: RunView, name: str) -> str:
    """Description of the rows of a preview from the generator's spec, '' if it is unknown."""
    spec = generator_specs().get(view.config.get("generator", ""))
    if spec is None or not (view.path / "set.json").exists():
        return ""
    text = spec.preview_captions.get(name, spec.preview_captions.get("", ""))
    classes = ", ".join(c for c, n in run_set(view).counts.items() if n)
    return text.replace("{classes}", escape_markdown(classes))
