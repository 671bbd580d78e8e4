"""The plots that pages and report share, as plotly figures without colours of their own ground."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rebalance_core.comparison.arms import variant_name

# Okabe and Ito's palette, safe for colour-blind readers; dark enough on white, light on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")  # of an arm's curves in turn
METRICS = {
    "validation_macro_f1": "macro-F1, validation",
    "validation_accuracy": "accuracy, validation",
    "validation_balanced_accuracy": "balanced accuracy, validation",
    "validation_auroc": "AUROC, validation",
    "validation_calibration_error": "calibration error, validation",
    "test_macro_f1": "macro-F1, test",
    "test_accuracy": "accuracy, test",
    "train_loss": "loss, training",
}


def _figure(height: int, x: str, y: str) -> go.Figure:
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


def class_bars(groups: dict[str, dict[str, int]], *, stacked: bool = False) -> go.Figure:
    """{name: {class: images}} → bars side by side, or stacked, a colour a name."""
    figure = _figure(300, "", "images")
    for number, (name, counts) in enumerate(groups.items()):
        figure.add_bar(
            x=list(counts), y=list(counts.values()), name=name,
            marker_color=COLOURS[number % len(COLOURS)],
            text=list(counts.values()), textposition="inside" if stacked else "outside",
            cliponaxis=False,
        )  # fmt: skip
    figure.update_layout(barmode="stack" if stacked else "group")
    figure.update_xaxes(type="category")
    return figure


def brightness_boxes(table: pd.DataFrame) -> go.Figure:
    """`health.brightness` as a box a class; the quantiles are given, so no image is sent."""
    figure = _figure(280, "", "brightness, 0 to 255")
    for number, (label, row) in enumerate(table.iterrows()):
        figure.add_box(
            x=[label], lowerfence=[row["least"]], q1=[row["q1"]], median=[row["median"]],
            q3=[row["q3"]], upperfence=[row["most"]], name=str(label), showlegend=False,
            marker_color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip
    figure.update_xaxes(type="category")
    return figure


def elbow_plot(facts: dict[str, Any]) -> go.Figure:
    """Inertia of each class over k, as a share of that at k = 1, and the chosen k."""
    figure = _figure(320, "clusters k", "inertia ÷ inertia at k = 1")
    for number, (label, inertia) in enumerate(facts["inertia"].items()):
        shares = [value / inertia[0] if inertia[0] else 0 for value in inertia]
        own = facts["elbows"][label]
        figure.add_scatter(
            x=facts["tried"], y=shares, name=f"{label} (elbow {own or 'none'})",
            mode="lines+markers", line_color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip
    return _chosen_k(figure, facts)


def silhouette_plot(facts: dict[str, Any]) -> go.Figure:
    """Mean silhouette of each class over k; the higher, the clearer the clusters."""
    figure = _figure(320, "clusters k", "mean silhouette")
    figure.update_layout(showlegend=True)
    for number, (label, values) in enumerate(facts["silhouettes"].items()):
        figure.add_scatter(
            x=facts["tried"], y=values, name=label, mode="lines+markers",
            line_color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip
    return _chosen_k(figure, facts)


def _chosen_k(figure: go.Figure, facts: dict[str, Any]) -> go.Figure:
    """A dashed line at k, or a ring on each curve where every class has its own."""
    if facts["k"] is not None:
        figure.add_vline(x=facts["k"], line_dash="dash", line_color="gray")
        figure.add_annotation(
            x=facts["k"], y=1, yref="paper", text=f"k = {facts['k']}", showarrow=False,
            xanchor="left", xshift=6,
        )  # fmt: skip
        return figure
    for trace, k in zip(figure.data, facts["ks"].values(), strict=True):
        trace.marker.size = [14 if tried == k else 6 for tried in facts["tried"]]
    return figure


def cluster_scatter(table: Any, colour: str, *, dimensions: int = 2) -> go.Figure:
    """Rows of `PoseClustering.assignments` at their first principal components.

    A colour each value of the column `colour`; image ids travel in customdata. 2 dimensions can
    be selected with box and lasso, 3 can be turned.
    """
    figure = _figure(480, "component 1", "component 2")
    figure.update_layout(showlegend=True, dragmode="lasso" if dimensions == 2 else "orbit")
    for number, (name, rows) in enumerate(table.groupby(colour, sort=True)):
        axes = {"x": rows["x"], "y": rows["y"]} | ({"z": rows["z"]} if dimensions == 3 else {})
        trace = go.Scatter3d if dimensions == 3 else go.Scattergl
        figure.add_trace(trace(
            **axes, customdata=rows[["image", "class", "pose"]].to_numpy(), mode="markers",
            name=str(name),
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}, %{customdata[2]}<extra></extra>",
            marker={"size": 6 if dimensions == 2 else 3, "opacity": 0.7,
                    "color": COLOURS[number % len(COLOURS)]},
        ))  # fmt: skip
    if dimensions == 3:
        figure.update_layout(height=620, margin={"l": 0, "r": 0, "t": 16, "b": 0}, scene={
            f"{axis}axis": {"title": f"component {number}", "gridcolor": "rgba(128,128,128,0.4)",
                            "backgroundcolor": "rgba(0,0,0,0)"}
            for number, axis in enumerate("xyz", start=1)
        })  # fmt: skip
    return figure


def selected_images(points: list[dict[str, Any]]) -> list[str]:
    """Image ids of what was selected in `cluster_scatter`, each once, in the plot's order."""
    return list(dict.fromkeys(str(point["customdata"][0]) for point in points))


def loss_curves(
    metrics: list[dict[str, Any]], names: list[str], smoothing: float = 0.0
) -> go.Figure:
    """Each named number over the steps it was logged at; smoothed, with the raw one faint."""
    figure = _figure(320, "step", "")
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


def loss_groups(metrics: list[dict[str, Any]]) -> list[list[str]]:
    """Names of numbers that belong into one plot, by stage and quantity."""
    numbers = ({k for k, v in m.items() if isinstance(v, float)} - {"time"} for m in metrics)
    names = sorted(set().union(*numbers))
    stages = ("autoencoder", "_loss", "gradient", "diversity")
    if not any(s in n for n in names for s in stages):
        return [names] if names else []
    groups = [[n for n in names if s in n] for s in stages]
    return [g for g in groups if g]


def comparison_curves(lines: list[dict[str, Any]], metric: str) -> go.Figure:
    """One curve an arm, amount and schedule (mean over seeds), with a band from least to most;
    a colour an arm, so that its curves are told apart by their dashes."""
    figure = _figure(440, "epoch", METRICS.get(metric, metric))
    figure.update_layout(showlegend=True, hovermode="x unified")
    groups: dict[str, dict[int, list[float]]] = {}
    of: dict[str, dict[str, Any]] = {}
    for line in lines:
        name = variant_name(line)
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
                fill="toself", fillcolor=colour, opacity=0.12, line_width=0, hoverinfo="skip",
                showlegend=False, legendgroup=name,
            )  # fmt: skip
        figure.add_scatter(
            x=xs, y=[sum(epochs[e]) / len(epochs[e]) for e in xs], name=name, legendgroup=name,
            mode="lines+markers", line={"color": colour, "dash": dash}, marker={"size": 5},
        )  # fmt: skip
    return figure


def gain_intervals(contrasts: dict[str, dict[str, Any]], other: str) -> go.Figure:
    """{arm: its contrast with `other`} → mean difference with interval and each seed's difference.

    A difference that cannot be tested has no interval and an open marker.
    """
    shown = list(contrasts.items())[::-1]
    figure = _figure(110 + 34 * len(shown), f"points of macro-F1 above {other}", "")
    for name, contrast in shown:
        figure.add_scatter(
            x=contrast["gains"], y=[name] * len(contrast["gains"]), mode="markers", opacity=0.45,
            marker={"size": 9, "symbol": "line-ns", "line": {"width": 2, "color": "#7F7F7F"}},
            showlegend=False,
            hovertemplate="%{x:+.2f}<extra>one seed</extra>",
        )  # fmt: skip
        gain, bounds = contrast["gain"], contrast["interval"]
        style: dict[str, Any] = {"marker": {"size": 10, "color": COLOURS[0]}}
        if bounds is None:
            style["marker"] |= {"symbol": "circle-open", "line": {"width": 2}}
            hover = "%{x:+.2f}, cannot be tested<extra>mean</extra>"
        else:
            style["error_x"] = {
                "type": "data", "symmetric": False, "array": [bounds[1] - gain],
                "arrayminus": [gain - bounds[0]], "thickness": 2,
            }  # fmt: skip
            hover = f"%{{x:+.2f}} ({bounds[0]:+.2f} to {bounds[1]:+.2f})<extra>mean</extra>"
        figure.add_scatter(
            x=[gain], y=[name], mode="markers", showlegend=False, name=name, hovertemplate=hover,
            **style,
        )  # fmt: skip
    figure.add_vline(x=0, line_color="gray", line_dash="dash")
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def score_plot(told: dict[str, Any], name: str) -> go.Figure:
    """One figure of a scored synthetic set by class, beside that of real images against real; the
    whiskers are the standard deviation over random draws."""
    figure = _figure(300, "", "")
    for number, (side, words) in enumerate((("generated", "generated"), ("real", "real images"))):
        classes = told["classes"].items()
        values = {label: c["figures"].get(name, {}).get(side) for label, c in classes}
        spreads = [c["figures"].get(name, {}).get(f"{side}_spread") for _, c in classes]
        figure.add_bar(
            x=list(values), y=list(values.values()), name=words,
            marker_color=(COLOURS[0], COLOURS[7])[number],
            text=["" if v is None else f"{v:.3g}" for v in values.values()],
            textposition="inside", cliponaxis=False,
            error_y={"type": "data", "array": spreads, "thickness": 1.5, "color": "#7F7F7F"},
        )  # fmt: skip
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(type="category")
    return figure


def gain_per_minute(rows: list[dict[str, Any]]) -> go.Figure:
    """Points gained beside minutes spent, training of the generator included."""
    figure = _figure(360, "minutes a seed: generator, sampling, classifier", "points gained")
    for number, row in enumerate(rows):
        if row["gain"] is None or row.get("generator_seconds") is None:
            continue
        figure.add_scatter(
            x=[(row["seconds"] + row["generator_seconds"]) / 60], y=[row["gain"]],
            mode="markers+text", text=[row["name"]], textposition="top center", showlegend=False,
            marker={"size": 11, "color": COLOURS[number % len(COLOURS)]},
        )  # fmt: skip
    figure.add_hline(y=0, line_color="gray", line_dash="dash")
    figure.update_xaxes(rangemode="tozero")
    return figure


def confusion_plot(row: dict[str, Any], classes: list[str]) -> go.Figure:
    """Counts over all seeds, coloured by the share of the true class (a row)."""
    counts = row["confusion"]
    shares = [[n / max(1, sum(line)) for n in line] for line in counts]
    figure = _figure(320, "predicted", "true")
    figure.add_heatmap(
        z=shares, x=classes, y=classes, text=counts, texttemplate="%{text}", showscale=False,
        colorscale=[[0, "rgba(0,114,178,0.04)"], [1, "rgba(0,114,178,0.85)"]], zmin=0, zmax=1,
        hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.0%})<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(type="category")
    return figure


def schedule_strips(strips: dict[str, list[str]]) -> go.Figure:
    """{schedule in words: what each epoch shows} as a strip of coloured epochs."""
    kinds = {"both": ("real and synthetic", COLOURS[1]), "real": ("real only", COLOURS[0]),
             "synthetic": ("synthetic only", COLOURS[4])}  # fmt: skip
    figure = _figure(90 + 34 * len(strips), "epoch", "")
    for kind, (words, colour) in kinds.items():
        for number, (name, epochs) in enumerate(list(strips.items())[::-1]):
            xs = [e for e, shows in enumerate(epochs, start=1) if shows == kind]
            figure.add_bar(
                x=[0.92] * len(xs), y=[name] * len(xs), base=[x - 0.46 for x in xs],
                orientation="h", marker_color=colour, name=words, legendgroup=kind,
                showlegend=number == 0 and any(kind in s for s in strips.values()),
                hovertemplate=f"{words}<extra></extra>",
            )  # fmt: skip
    figure.update_layout(barmode="overlay", bargap=0.35)
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def cell_grid(cells: list[dict[str, Any]], states: dict[str, str]) -> go.Figure:
    """The whole grid of a comparison: a row an arm, a column a seed, coloured by how far it is."""
    order = ("waiting", "training", "done", "failed")
    colours = ("rgba(127,127,127,0.25)", COLOURS[5], COLOURS[2], COLOURS[1])
    names = list(dict.fromkeys(c["label"] for c in cells))
    seeds = list(dict.fromkeys(c["seed"] for c in cells))
    place = {(c["label"], c["seed"]): states[c["cell"]] for c in cells}
    z = [[order.index(place.get((n, s), "waiting")) for s in seeds] for n in names]
    figure = _figure(100 + 24 * len(names), "seed", "")
    figure.add_heatmap(
        z=z, x=[str(s) for s in seeds], y=names, zmin=0, zmax=3, showscale=False, xgap=3, ygap=3,
        colorscale=[[k / 3, c] for k, c in enumerate(colours)],
        text=[[order[v] for v in line] for line in z], texttemplate="%{text}",
        hovertemplate="%{y}, seed %{x}: %{text}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    return figure
