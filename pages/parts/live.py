"""A run on the page: status, progress with time left, curves, previews, cancel, resume.

Reads the run's directory again and again while it lives; the work is in another process. What moves
all the time is small and looked at often; what is heavy to draw, more rarely.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from pages.parts.frame import guarded, notify
from pages.parts.plain import plain
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
# Seconds between two looks. Each makes the server run a script and the browser go over the whole
# page, whether anything is new or not: benchmarks/watching_cost.py measures both. In a run of more
# than SHORT seconds, of which one look shows little new, they are up to RARER times as far apart.
POLL = 3.0  # status, progress
REDRAW = 10.0  # curves, pictures, log
SHORT, RARER = 300.0, 3.0
PLOTS = 2  # side by side
BADGES = {
    "queued": ("gray", ":material/hourglass_top:"),
    "running": ("blue", ":material/play_arrow:"),
    "done": ("green", ":material/check:"),
    "failed": ("red", ":material/error:"),
    "cancelled": ("orange", ":material/cancel:"),
    "interrupted": ("orange", ":material/power_off:"),
}


def latest(workspace: Workspace, kind: str, fits: Callable[[RunView], bool]) -> RunView | None:
    """The newest run of a kind that `fits`."""
    return next((v for v in list_runs(workspace, kind) if fits(v)), None)


def run_label(view: RunView) -> str:
    """A training run in a list: its name, how it was trained, its id."""
    preset = view.config.get("training", {}).get("preset", "no preset")
    how = "from a folder" if view.config.get("folder") else preset
    return f"{view.name}, {how} ({view.id})"


def again(
    live: bool,
    look: Callable[[], T],
    lives: Callable[[T], bool],
    draw: Callable[[T], None],
    every: float = POLL,
) -> None:
    """Draw what `look` finds; if the page was drawn of something `live`, again every so many
    seconds until it no longer `lives`. Regions stand beside each other, none inside another."""

    @st.fragment(run_every=every if live else None)
    @guarded
    def region() -> None:
        now = look()
        if live and not lives(now):
            # The whole page: what a run made can be used now. Before anything is drawn, so that
            # nobody sees an end on a page that is about to be drawn anew.
            st.rerun()
        draw(now)

    region()


def follow(view: RunView, draw: Callable[[RunView], None], every: float) -> None:
    """Draw of a run what changes while it lives, `every` so many seconds at most."""
    times = rarer(view)
    again(
        view.live,
        lambda: view_run(view.path),
        # where the run turns out to be much longer or shorter, the page begins anew
        lambda now: now.live and 0.5 < rarer(now) / times < 2,
        draw,
        every * times,
    )


def rarer(view: RunView) -> float:
    """How many times as far apart looks are for the time a run takes in all, as far as is known."""
    left, started = view.progress["seconds_left"], view.state.get("started")
    if left is None or started is None:
        return 1.0
    return float(min(RARER, max(1.0, (time.time() - started + left) / SHORT)))


def watch(view: RunView, draw: Callable[[RunView], None] | None = None) -> None:
    """Show a run while it lives and after; `draw` shows what is particular to it."""
    follow(view, _status, POLL)
    if draw is not None:
        follow(view, draw, REDRAW)


def job_panel(
    view: RunView | None, empty: str = "", show: Callable[[RunView], None] | None = None
) -> None:
    """The caption `empty` without a run, its status until it is done, then `show`."""
    if view is None:
        if empty:
            st.caption(empty)
    elif view.status != "done":
        watch(view)
    elif show is not None:
        show(view)


def _status(view: RunView) -> None:
    workspace = Workspace(view.path.parent.parent)
    colour, icon = BADGES[view.status]
    left, right = st.columns([5, 1], vertical_alignment="center")
    with left:
        st.badge(view.status, color=colour, icon=icon)  # type: ignore[arg-type]
        if view.live:
            st.progress(view.progress["fraction"], text=progress_text(view))
            if view.warning:
                st.warning(view.warning)
        elif view.state.get("reason"):
            told = plain(f"{view.name}: {view.state['reason']}")
            (st.error if view.status == "failed" else st.warning)(told)
    with right:
        if view.live and st.button("Cancel", key=f"cancel {view.id}", disabled=view.stopping):
            act(lambda: cancel(workspace, view.id))
        if view.status in ("failed", "cancelled", "interrupted") and st.button(
            "Resume", key=f"resume {view.id}", help="Goes on from the last checkpoint."
        ):
            act(lambda: resume(workspace, view.id))


def progress_text(view: RunView) -> str:
    if view.stopping:
        return "stopping, keeping a checkpoint …"
    stage, left = view.progress["stage"], view.progress["seconds_left"]
    told = f"{plain(stage or 'starting')} ({view.progress['fraction']:.0%})"
    return told if left is None else f"{told}, about {duration(left)} left"


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `1 h 20 min`, `2 days`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes / 60 / 24:.0f} days"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def act(change: Callable[[], T], done: str | Callable[[T], str] = "") -> None:
    """Do what a button says, draw the page anew and show `done`, or what it makes of the result.

    A refusal is shown in one sentence.
    """
    try:
        with translate_disk_full(Workspace.from_environment().root):
            result = change()
    except UserError as error:
        st.error(plain(str(error)))
        return
    if done:
        notify(done(result) if callable(done) else done)
    st.rerun()


def submitted(view: RunView) -> str:
    """The message for a run that a button has just submitted."""
    return f"Submitted: {view.name}."


def training(view: RunView) -> None:
    """Loss curves with the last step's number, and the previews with a slider back in time."""
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
            help="Weight of the past in a moving average; the raw curve stays, faint.",
        )
        spec = generator_specs().get(view.config.get("generator", ""))
        groups = loss_groups(metrics, spec.plots if spec else ())
        for start in range(0, len(groups), PLOTS):
            for column, names in zip(
                st.columns(PLOTS), groups[start : start + PLOTS], strict=False
            ):
                figure = _curves(
                    view.path, len(metrics), metrics[-1].get("time", 0.0), tuple(names), smoothing
                )
                column.plotly_chart(figure, key=f"loss {names} {view.id}")
    previews: dict[str, list[Path]] = {}
    for picture in sorted((view.path / "previews").glob("[!.]*-[0-9]*.png")):
        previews.setdefault(picture.stem.rpartition("-")[0], []).append(picture)
    # What is being learned now stands on top.
    for name in sorted(previews, key=lambda n: -_step(previews[n][-1])):
        _preview(view, name, previews[name])


def _step(picture: Path) -> int:
    return int(picture.stem.rpartition("-")[2])


@lru_cache(maxsize=64)
def _curves(
    path: Path, lines: int, last: float, names: tuple[str, ...], smoothing: float
) -> "go.Figure":
    """Drawn once for all who watch, until a line comes (`lines`, `last`) or a resume takes some."""
    return loss_curves(read_metrics(path), list(names), smoothing)


def _preview(view: RunView, name: str, pictures: list[Path]) -> None:
    """The newest picture, or the one that the slider stands at. While the run goes on, the slider
    keeps the pictures there were when somebody asked for it: its end doesn't run away."""
    steps = [_step(p) for p in pictures]
    key, step = f"preview {name} {view.id}", steps[-1]
    kept = f"{key} kept"
    if len(steps) > 1 and view.live and not st.toggle("Look back in time", key=f"{key} back"):
        st.session_state.pop(kept, None)
    elif len(steps) > 1:
        choices = st.session_state.setdefault(kept, steps) if view.live else steps
        step = st.select_slider(f"{name}: step", choices, value=choices[-1], key=key)
    chosen = pictures[steps.index(step)]
    told = f"{name}, step {step}"
    if words := _rows_in_words(view, name):
        told += f"; {words}"
    st.image(chosen.read_bytes(), caption=told, width="stretch")


def _rows_in_words(view: RunView, name: str) -> str:
    """What the rows of a preview are, as the generator's spec describes them."""
    spec = generator_specs().get(view.config.get("generator", ""))
    if spec is None or not (view.path / "set.json").exists():
        return ""
    words = spec.previews.get(name, spec.previews.get("", ""))
    classes = ", ".join(c for c, n in run_set(view).counts.items() if n)
    return words.replace("{classes}", plain(classes))
