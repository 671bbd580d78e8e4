"""Loss curves."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def loss_curves(
    metrics: list[dict[str, Any]], names: list[str], smoothing: float = 0.0
) -> go.Figure:
    """Each named number over the steps it was logged at; smoothed, with the raw one faint."""
    figure = base_figure(320, "step", "")
    figure.update_layout(showlegend=True)
    for number, name in enumerate(names):
        logged = [m for m in metrics if isinstance(m.get(name), float | int)]
        xs = [m["step"] for m in logged]
        raw = [m[name] for m in logged]
        colour = COLOURS[number % len(COLOURS)]
        style = {"mode": "lines" if len(xs) > 1 else "markers", "line_color": colour}
        if smoothing:
            figure.add_scatter(
                x=xs, y=raw, opacity=0.25, showlegend=False, hoverinfo="skip", **style
            )
        figure.add_scatter(x=xs, y=smoothed(raw, smoothing), name=name.replace("_", " "), **style)
    return figure


def smoothed(values: list[float], weight: float) -> list[float]:
    """Exponential moving average from the first value on, each past value `weight` as heavy as
    the one after it; `weight` 0 changes nothing."""
    total = share = 0.0
    means = []
    for value in values:
        total, share = weight * total + (1 - weight) * value, weight * share + (1 - weight)
        means.append(total / share)
    return means


def loss_groups(metrics: list[dict[str, Any]], stages: Sequence[str] = ()) -> list[list[str]]:
    """Names of the metrics that share a plot: one plot per stage (a part of their names), or one
    for all where no metric is of a stage."""
    numbers = ({k for k, v in m.items() if isinstance(v, float)} - {"time"} for m in metrics)
    names = sorted(set().union(*numbers))
    if not any(s in n for n in names for s in stages):
        return [names] if names else []
    groups = [[n for n in names if s in n] for s in stages]
    return [g for g in groups if g]
