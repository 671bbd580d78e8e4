"""Plots of a comparison: curves, gains, confusion, schedules, cells."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, DASHES, base_figure


class Contrast(Protocol):
    """Paired differences in points: one per seed, their mean and its interval (None: untested)."""

    @property
    def gains(self) -> Sequence[float]: ...
    @property
    def gain(self) -> float | None: ...
    @property
    def interval(self) -> Sequence[float] | None: ...


class Row(Protocol):
    """An arm with its gain in points and its cost in seconds per seed."""

    @property
    def name(self) -> str: ...
    @property
    def gain(self) -> float | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def generator_seconds(self) -> float | None: ...


class Cell(Protocol):
    """One classifier of a comparison."""

    @property
    def cell(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def seed(self) -> int: ...


def comparison_curves(lines: list[dict[str, Any]], metric: str, title: str) -> go.Figure:
    """One curve per `label` of the records `lines`: the mean over seeds with a min-max band.

    One colour per `arm`, whose curves differ in their dashes; `title`: of the metric.
    """
    figure = base_figure(440, "epoch", title)
    figure.update_layout(showlegend=True, hovermode="x unified")
    groups: dict[str, dict[int, list[float]]] = {}
    arm_of: dict[str, str] = {}
    for line in lines:
        name = line["label"]
        arm_of.setdefault(name, line["arm"])
        if isinstance(line.get(metric), float | int):
            groups.setdefault(name, {}).setdefault(line["epoch"], []).append(line[metric])
    arms = list(dict.fromkeys(arm_of.values()))
    curves: Counter[str] = Counter()  # drawn so far, per arm
    for name, epochs in groups.items():
        arm = arm_of[name]
        dash = DASHES[curves[arm] % len(DASHES)]
        curves[arm] += 1
        colour = COLOURS[arms.index(arm) % len(COLOURS)]
        xs = sorted(epochs)
        if any(len(epochs[e]) > 1 for e in xs):
            figure.add_scatter(
                x=[*xs, *xs[::-1]],
                y=[*(max(epochs[e]) for e in xs), *(min(epochs[e]) for e in xs[::-1])],
                fill="toself",
                fillcolor=colour,
                opacity=0.12,
                line_width=0,
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        figure.add_scatter(
            x=xs,
            y=[sum(epochs[e]) / len(epochs[e]) for e in xs],
            name=name,
            legendgroup=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            marker={"size": 5},
        )
    return figure


def gain_intervals(contrasts: Mapping[str, Contrast], measure: str, other: str) -> go.Figure:
    """{arm: its contrast with `other`} → mean gain in points of `measure`, its interval and the
    gain of each seed.

    An untested contrast has no interval and an open marker.
    """
    figure = base_figure(110 + 34 * len(contrasts), f"points of {measure} above {other}", "")
    for name, contrast in reversed(list(contrasts.items())):
        figure.add_scatter(
            x=contrast.gains,
            y=[name] * len(contrast.gains),
            mode="markers",
            opacity=0.45,
            marker={"size": 9, "symbol": "line-ns", "line": {"width": 2, "color": "#7F7F7F"}},
            showlegend=False,
            hovertemplate="%{x:+.2f}<extra>one seed</extra>",
        )
        gain, interval = contrast.gain, contrast.interval
        style: dict[str, Any] = {"marker": {"size": 10, "color": COLOURS[0]}}
        if gain is None or interval is None:
            style["marker"] |= {"symbol": "circle-open", "line": {"width": 2}}
            hover = "%{x:+.2f}, cannot be tested<extra>mean</extra>"
        else:
            style["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [interval[1] - gain],
                "arrayminus": [gain - interval[0]],
                "thickness": 2,
            }
            hover = f"%{{x:+.2f}} ({interval[0]:+.2f} to {interval[1]:+.2f})<extra>mean</extra>"
        figure.add_scatter(
            x=[gain],
            y=[name],
            mode="markers",
            showlegend=False,
            name=name,
            hovertemplate=hover,
            **style,
        )
    figure.add_vline(x=0, line_color="gray", line_dash="dash")
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def gain_per_minute(rows: Sequence[Row]) -> go.Figure:
    """Gain in points over minutes per seed, training of the generator included."""
    figure = base_figure(360, "minutes per seed: generator, sampling, classifier", "gain in points")
    for index, row in enumerate(rows):
        if row.gain is None or row.generator_seconds is None:
            continue
        figure.add_scatter(
            x=[(row.seconds + row.generator_seconds) / 60],
            y=[row.gain],
            mode="markers+text",
            text=[row.name],
            textposition="top center",
            showlegend=False,
            marker={"size": 11, "color": COLOURS[index % len(COLOURS)]},
        )
    figure.add_hline(y=0, line_color="gray", line_dash="dash")
    figure.update_xaxes(rangemode="tozero")
    return figure


def confusion_plot(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> go.Figure:
    """Confusion matrix, true classes in rows, coloured by the fraction of the true class."""
    fractions = [[n / max(1, sum(row)) for n in row] for row in counts]
    figure = base_figure(320, "predicted", "true")
    figure.add_heatmap(
        z=fractions,
        x=classes,
        y=classes,
        text=counts,
        texttemplate="%{text}",
        showscale=False,
        colorscale=[[0, "#F3F8FB"], [1, "#2A86BC"]],  # opaque: the text contrasts in both themes
        zmin=0,
        zmax=1,
        hoverinfo="skip",
    )
    # A heatmap's cells cannot be selected; invisible points above them can.
    cells = [
        (true, predicted, counts[row][column], fractions[row][column])
        for row, true in enumerate(classes)
        for column, predicted in enumerate(classes)
    ]
    figure.add_scatter(
        x=[cell[1] for cell in cells],
        y=[cell[0] for cell in cells],
        customdata=cells,
        mode="markers",
        marker={"symbol": "square", "size": 40, "color": COLOURS[1], "opacity": 0},
        selected={"marker": {"opacity": 0.35}},
        unselected={"marker": {"opacity": 0}},
        hovertemplate="true %{y}, predicted %{x}: %{customdata[2]} (%{customdata[3]:.0%})"
        "<extra></extra>",
        showlegend=False,
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_layout(clickmode="event+select", dragmode=False)
    return figure


def selected_cell(points: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The (true, predicted) classes of the selected point of a confusion plot; None without one."""
    for point in points:
        values = point.get("customdata")
        if isinstance(values, Mapping):
            values = list(values.values())
        if isinstance(values, list | tuple) and len(values) == 4:
            return str(values[0]), str(values[1])
    return None


def schedule_strips(strips: dict[str, list[str]]) -> go.Figure:
    """{schedule: the images of each epoch, real, synthetic or both} → one strip per schedule."""
    kinds = {
        "both": ("real and synthetic", COLOURS[1]),
        "real": ("real only", COLOURS[0]),
        "synthetic": ("synthetic only", COLOURS[4]),
    }
    figure = base_figure(90 + 34 * len(strips), "epoch", "")
    for kind, (title, colour) in kinds.items():
        for index, (name, epochs) in enumerate(reversed(list(strips.items()))):
            xs = [epoch for epoch, images in enumerate(epochs, start=1) if images == kind]
            figure.add_bar(
                x=[0.92] * len(xs),
                y=[name] * len(xs),
                base=[x - 0.46 for x in xs],
                orientation="h",
                marker_color=colour,
                name=title,
                legendgroup=kind,
                showlegend=index == 0 and any(kind in s for s in strips.values()),
                hovertemplate=f"{title}<extra></extra>",
            )
    figure.update_layout(barmode="overlay", bargap=0.35)
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def cell_grid(cells: Sequence[Cell], states: Mapping[str, str]) -> go.Figure:
    """All cells of a comparison: one row per arm, one column per seed, coloured by state."""
    order = ("waiting", "training", "done", "failed")
    colours = ("rgba(127,127,127,0.25)", COLOURS[5], COLOURS[2], COLOURS[1])
    names = list(dict.fromkeys(c.label for c in cells))
    seeds = list(dict.fromkeys(c.seed for c in cells))
    state_of = {(c.label, c.seed): states[c.cell] for c in cells}
    z = [[order.index(state_of.get((n, s), "waiting")) for s in seeds] for n in names]
    figure = base_figure(100 + 24 * len(names), "seed", "")
    figure.add_heatmap(
        z=z,
        x=[str(s) for s in seeds],
        y=names,
        zmin=0,
        zmax=3,
        showscale=False,
        xgap=3,
        ygap=3,
        colorscale=[[k / 3, c] for k, c in enumerate(colours)],
        text=[[order[v] for v in row] for row in z],
        texttemplate="%{text}",
        hovertemplate="%{y}, seed %{x}: %{text}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    return figure
