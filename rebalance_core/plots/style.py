"""Colours and layout of all plots."""

import plotly.graph_objects as go

# The colour-blind safe palette of Okabe and Ito, legible on white and on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # of the curves of one arm

AS_SVG = {"toImageButtonOptions": {"format": "svg"}}  # what the download button of a plot writes


def base_figure(height: int, x: str, y: str) -> go.Figure:
    """An empty figure with the titles of its axes; `height` in px."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": x, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False},
        yaxis={"title": y, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False},
        font={"size": 13},
    )
    return figure
