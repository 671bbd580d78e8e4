"""Plots of the scores of a synthetic set."""

from collections.abc import Mapping

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def score_plot(metric: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    """{class: values of one metric} → bars of generated images next to those of real images.

    Values are `generated`, `real` and, drawn as error bars, the standard deviations over random
    draws, `generated_spread` and `real_spread`.
    """
    figure = base_figure(300, "", "")
    for index, (side, title) in enumerate((("generated", "generated"), ("real", "real images"))):
        values = {label: sides.get(side) for label, sides in metric.items()}
        spreads = [sides.get(f"{side}_spread") for sides in metric.values()]
        figure.add_bar(
            x=list(values),
            y=list(values.values()),
            name=title,
            marker_color=(COLOURS[0], COLOURS[7])[index],
            text=["" if v is None else f"{v:.3g}" for v in values.values()],
            textposition="inside",
            cliponaxis=False,
            error_y={"type": "data", "array": spreads, "thickness": 1.5, "color": "#7F7F7F"},
        )
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(type="category")
    return figure
