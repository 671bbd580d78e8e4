"""Plots of a training: loss curves."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def loss_curves(
    metrics: list[dict[str, Any]], names: list[str], smoothing: float = 0.0
) -> go.Figure:
    """The metrics `names` over the steps; with `smoothing`, the raw curves are faint.

    `metrics`: logged records {"step": …, name: value, …}; `smoothing`: see `smooth`.
    """
    figure = base_figure(320, "step", "")
    figure.update_layout(showlegend=True)
    for index, name in enumerate(names):
        records = [m for m in metrics if isinstance(m.get(name), float | int)]
        steps = [m["step"] for m in records]
        raw = [m[name] for m in records]
        colour = COLOURS[index % len(COLOURS)]
        style = {"mode": "lines" if len(steps) > 1 else "markers", "line_color": colour}
        if smoothing:
            figure.add_scatter(
                x=steps, y=raw, opacity=0.25, showlegend=False, hoverinfo="skip", **style
            )
        title = name.replace("_", " ")
        figure.add_scatter(x=steps, y=smooth(raw, smoothing), name=title, **style)
    return figure


def smooth(values: list[float], decay: float) -> list[float]:
    """Bias-corrected exponential moving average; `decay` 0 to 1, 0 for no smoothing."""
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        means.append(total / weight)
    return means


def loss_groups(metrics: list[dict[str, Any]], stages: Sequence[str] = ()) -> list[list[str]]:
    """Names of the metrics of each plot: one plot per stage (a substring of the names), or a
    single one where no name contains a stage."""
    keys = ({k for k, v in m.items() if isinstance(v, float)} - {"time"} for m in metrics)
    names = sorted(set().union(*keys))
    if not any(stage in name for name in names for stage in stages):
        return [names] if names else []
    groups = [[name for name in names if stage in name] for stage in stages]
    return [group for group in groups if group]
