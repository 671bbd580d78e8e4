"""Plots of the quality of a synthetic set."""

from collections.abc import Mapping

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def score_plot(metric: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    """{class: a metric} of generated images, beside that of real images against real ones.

    A metric has `generated`, `real` and the standard deviations over random draws,
    `generated_spread` and `real_spread`, which are drawn as error bars.
    """
    figure = base_figure(300, "", "")
    for number, (side, title) in enumerate((("generated", "generated"), ("real", "real images"))):
        values = {label: sides.get(side) for label, sides in metric.items()}
        spreads = [sides.get(f"{side}_spread") for sides in metric.values()]
        figure.add_bar(
            x=list(values),
            y=list(values.values()),
            name=title,
            marker_color=(COLOURS[0], COLOURS[7])[number],
            text=["" if v is None else f"{v:.3g}" for v in values.values()],
            textposition="inside",
            cliponaxis=False,
            error_y={"type": "data", "array": spreads, "thickness": 1.5, "color": "#7F7F7F"},
        )
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(type="category")
    return figure
