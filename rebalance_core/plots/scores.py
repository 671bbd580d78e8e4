"""Plots of the quality of a synthetic set."""

from typing import Any

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def score_plot(told: dict[str, Any], name: str) -> go.Figure:
    """One figure of a scored synthetic set by class, beside that of real images against real; the
    whiskers are the standard deviation over random draws."""
    figure = base_figure(300, "", "")
    for number, (side, words) in enumerate((("generated", "generated"), ("real", "real images"))):
        classes = told["classes"].items()
        values = {label: c["figures"].get(name, {}).get(side) for label, c in classes}
        spreads = [c["figures"].get(name, {}).get(f"{side}_spread") for _, c in classes]
        figure.add_bar(
            x=list(values),
            y=list(values.values()),
            name=words,
            marker_color=(COLOURS[0], COLOURS[7])[number],
            text=["" if v is None else f"{v:.3g}" for v in values.values()],
            textposition="inside",
            cliponaxis=False,
            error_y={"type": "data", "array": spreads, "thickness": 1.5, "color": "#7F7F7F"},
        )
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(type="category")
    return figure
