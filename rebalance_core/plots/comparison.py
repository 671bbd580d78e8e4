"""Plots of a comparison: curves, differences, confusion, schedules, cells."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, DASHES, base_figure


class Contrast(Protocol):
    """A paired difference in points: of each seed, their mean and its interval (None: untested)."""

    @property
    def gains(self) -> Sequence[float]: ...
    @property
    def gain(self) -> float | None: ...
    @property
    def interval(self) -> Sequence[float] | None: ...


class Row(Protocol):
    """An arm with its gain in points and the seconds that one seed takes."""

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
    """One curve per `label` of the lines (mean over seeds), with a band from least to most; one
    colour per `arm`, whose curves differ in their dashes; `title` is that of the metric."""
    figure = base_figure(440, "epoch", title)
    figure.update_layout(showlegend=True, hovermode="x unified")
    groups: dict[str, dict[int, list[float]]] = {}
    of: dict[str, dict[str, Any]] = {}
    for line in lines:
        name = line["label"]
        of.setdefault(name, line)
        if isinstance(line.get(metric), float | int):
            groups.setdefault(name, {}).setdefault(line["epoch"], []).append(line[metric])
    arms = list(dict.fromkeys(line["arm"] for line in of.values()))
    dashes: dict[str, list[str]] = {}
    for name, epochs in groups.items():
        arm = of[name]["arm"]
        before = dashes.setdefault(arm, [])
        dash = DASHES[len(before) % len(DASHES)]
        before.append(name)
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
    """{arm: its contrast with `other`} → mean difference in points of `measure`, with interval and
    each seed's difference.

    A difference that cannot be tested has no interval and an open marker.
    """
    shown = list(contrasts.items())[::-1]
    figure = base_figure(110 + 34 * len(shown), f"points of {measure} above {other}", "")
    for name, contrast in shown:
        figure.add_scatter(
            x=contrast.gains,
            y=[name] * len(contrast.gains),
            mode="markers",
            opacity=0.45,
            marker={"size": 9, "symbol": "line-ns", "line": {"width": 2, "color": "#7F7F7F"}},
            showlegend=False,
            hovertemplate="%{x:+.2f}<extra>one seed</extra>",
        )
        gain, bounds = contrast.gain, contrast.interval
        style: dict[str, Any] = {"marker": {"size": 10, "color": COLOURS[0]}}
        if gain is None or bounds is None:
            style["marker"] |= {"symbol": "circle-open", "line": {"width": 2}}
            hover = "%{x:+.2f}, cannot be tested<extra>mean</extra>"
        else:
            style["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [bounds[1] - gain],
                "arrayminus": [gain - bounds[0]],
                "thickness": 2,
            }
            hover = f"%{{x:+.2f}} ({bounds[0]:+.2f} to {bounds[1]:+.2f})<extra>mean</extra>"
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
    """Points gained beside minutes spent, training of the generator included."""
    figure = base_figure(360, "minutes a seed: generator, sampling, classifier", "points gained")
    for number, row in enumerate(rows):
        if row.gain is None or row.generator_seconds is None:
            continue
        figure.add_scatter(
            x=[(row.seconds + row.generator_seconds) / 60],
            y=[row.gain],
            mode="markers+text",
            text=[row.name],
            textposition="top center",
            showlegend=False,
            marker={"size": 11, "color": COLOURS[number % len(COLOURS)]},
        )
    figure.add_hline(y=0, line_color="gray", line_dash="dash")
    figure.update_xaxes(rangemode="tozero")
    return figure


def confusion_plot(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> go.Figure:
    """Counts over all seeds, coloured by the share of the true class (a row)."""
    shares = [[n / max(1, sum(line)) for n in line] for line in counts]
    figure = base_figure(320, "predicted", "true")
    figure.add_heatmap(
        z=shares,
        x=classes,
        y=classes,
        text=counts,
        texttemplate="%{text}",
        showscale=False,
        colorscale=[[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.85)"]],
        zmin=0,
        zmax=1,
        hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(type="category")
    return figure


def schedule_strips(strips: dict[str, list[str]]) -> go.Figure:
    """{schedule in words: what each epoch shows} as a strip of coloured epochs."""
    kinds = {
        "both": ("real and synthetic", COLOURS[1]),
        "real": ("real only", COLOURS[0]),
        "synthetic": ("synthetic only", COLOURS[4]),
    }
    figure = base_figure(90 + 34 * len(strips), "epoch", "")
    for kind, (words, colour) in kinds.items():
        for number, (name, epochs) in enumerate(list(strips.items())[::-1]):
            xs = [e for e, shows in enumerate(epochs, start=1) if shows == kind]
            figure.add_bar(
                x=[0.92] * len(xs),
                y=[name] * len(xs),
                base=[x - 0.46 for x in xs],
                orientation="h",
                marker_color=colour,
                name=words,
                legendgroup=kind,
                showlegend=number == 0 and any(kind in s for s in strips.values()),
                hovertemplate=f"{words}<extra></extra>",
            )
    figure.update_layout(barmode="overlay", bargap=0.35)
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def cell_grid(cells: Sequence[Cell], states: Mapping[str, str]) -> go.Figure:
    """The whole grid of a comparison: a row an arm, a column a seed, coloured by how far it is."""
    order = ("waiting", "training", "done", "failed")
    colours = ("rgba(127,127,127,0.25)", COLOURS[5], COLOURS[2], COLOURS[1])
    names = list(dict.fromkeys(c.label for c in cells))
    seeds = list(dict.fromkeys(c.seed for c in cells))
    place = {(c.label, c.seed): states[c.cell] for c in cells}
    z = [[order.index(place.get((n, s), "waiting")) for s in seeds] for n in names]
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
        text=[[order[v] for v in line] for line in z],
        texttemplate="%{text}",
        hovertemplate="%{y}, seed %{x}: %{text}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    return figure
