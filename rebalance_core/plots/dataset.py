"""Plots of a dataset: images per class, brightness."""

import pandas as pd
import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def class_bars(groups: dict[str, dict[str, int]], *, stacked: bool = False) -> go.Figure:
    """{name: {class: images}} → grouped or stacked bars, one colour per name."""
    figure = base_figure(300, "", "images")
    for index, (name, counts) in enumerate(groups.items()):
        figure.add_bar(
            x=list(counts),
            y=list(counts.values()),
            name=name,
            marker_color=COLOURS[index % len(COLOURS)],
            text=list(counts.values()),
            textposition="inside" if stacked else "outside",
            cliponaxis=False,
        )
    figure.update_layout(barmode="stack" if stacked else "group")
    figure.update_xaxes(type="category")
    return figure


def brightness_boxes(table: pd.DataFrame) -> go.Figure:
    """The table of `health.brightness` → one box per class, drawn from its quantiles."""
    figure = base_figure(280, "", "brightness, 0 to 255")
    for index, (label, row) in enumerate(table.iterrows()):
        figure.add_box(
            x=[label],
            lowerfence=[row["least"]],
            q1=[row["q1"]],
            median=[row["median"]],
            q3=[row["q3"]],
            upperfence=[row["most"]],
            name=str(label),
            showlegend=False,
            marker_color=COLOURS[index % len(COLOURS)],
        )
    figure.update_xaxes(type="category")
    return figure
