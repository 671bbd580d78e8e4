"""Plots of a clustering: elbow, silhouette, scatter."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from rebalance_core.plots.style import COLOURS, base_figure


def elbow_plot(
    tried: Sequence[int],
    inertia: Mapping[str, Sequence[float]],
    elbows: Mapping[str, int | None],
    ks: Mapping[str, int],
) -> go.Figure:
    """Inertia of each class over k = `tried`, relative to that at k = 1, and the k in use."""
    figure = base_figure(320, "clusters k", "inertia ÷ inertia at k = 1")
    for index, (label, values) in enumerate(inertia.items()):
        figure.add_scatter(
            x=tried,
            y=[value / values[0] if values[0] else 0 for value in values],
            name=f"{label} (elbow {elbows[label] or 'none'})",
            mode="lines+markers",
            line_color=COLOURS[index % len(COLOURS)],
        )
    return _mark_k(figure, tried, [ks[label] for label in inertia])


def silhouette_plot(
    tried: Sequence[int], silhouettes: Mapping[str, Sequence[float | None]], ks: Mapping[str, int]
) -> go.Figure:
    """Mean silhouette of each class over k = `tried`; higher means clearer clusters."""
    figure = base_figure(320, "clusters k", "mean silhouette")
    figure.update_layout(showlegend=True)
    for index, (label, values) in enumerate(silhouettes.items()):
        figure.add_scatter(
            x=tried,
            y=values,
            name=label,
            mode="lines+markers",
            line_color=COLOURS[index % len(COLOURS)],
        )
    return _mark_k(figure, tried, [ks[label] for label in silhouettes])


def _mark_k(figure: go.Figure, tried: Sequence[int], ks: Sequence[int]) -> go.Figure:
    """A dashed line at the common k, or a large marker on each curve where they differ."""
    if len(set(ks)) == 1:
        figure.add_vline(x=ks[0], line_dash="dash", line_color="gray")
        figure.add_annotation(
            x=ks[0],
            y=1,
            yref="paper",
            text=f"k = {ks[0]}",
            showarrow=False,
            xanchor="left",
            xshift=6,
        )
        return figure
    for trace, k in zip(figure.data, ks, strict=True):
        trace.marker.size = [14 if other == k else 6 for other in tried]
    return figure


def cluster_scatter(table: Any, colour: str, *, dimensions: int = 2) -> go.Figure:
    """Rows of `PoseClustering.assignments` in their first 2 or 3 principal components.

    One colour per value of the column `colour`; customdata holds the image ids. In 2 dimensions,
    points can be selected with box and lasso.
    """
    figure = base_figure(480, "component 1", "component 2")
    figure.update_layout(showlegend=True, dragmode="lasso" if dimensions == 2 else "orbit")
    for index, (name, rows) in enumerate(table.groupby(colour, sort=True)):
        axes = {"x": rows["x"], "y": rows["y"]} | ({"z": rows["z"]} if dimensions == 3 else {})
        trace = go.Scatter3d if dimensions == 3 else go.Scattergl
        figure.add_trace(
            trace(
                **axes,
                customdata=rows[["image", "class", "pose"]].to_numpy(),
                mode="markers",
                name=str(name),
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}, %{customdata[2]}"
                "<extra></extra>",
                marker={
                    "size": 6 if dimensions == 2 else 3,
                    "opacity": 0.7,
                    "color": COLOURS[index % len(COLOURS)],
                },
            )
        )
    if dimensions == 3:
        figure.update_layout(
            height=620,
            margin={"l": 0, "r": 0, "t": 16, "b": 0},
            scene={
                f"{axis}axis": {
                    "title": f"component {component}",
                    "gridcolor": "rgba(128,128,128,0.4)",
                    "backgroundcolor": "rgba(0,0,0,0)",
                }
                for component, axis in enumerate("xyz", start=1)
            },
        )
    return figure


def selected_images(points: list[dict[str, Any]]) -> list[str]:
    """Unique image ids of points selected in `cluster_scatter`, in their order."""
    return list(dict.fromkeys(str(point["customdata"][0]) for point in points))
