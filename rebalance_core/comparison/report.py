"""One self-contained HTML page of a comparison: works offline, says what it rests on."""

import base64
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from rebalance_core.comparison.results import arm_name, table
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.training_set import TrainingSet
from rebalance_core.errors import UserError
from rebalance_core.figures import (
    METRICS,
    class_bars,
    comparison_curves,
    elbow_plot,
    loss_curves,
    loss_groups,
)
from rebalance_core.files import read_json, write_text
from rebalance_core.images import grid, png_bytes
from rebalance_core.pictures import cluster_rows, sample_rows
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.run import find_run, read_metrics
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.workspace import Workspace

SHOWN = 10  # images in a row
VERSIONS = ("torch", "torchvision", "diffusers", "accelerate", "scikit-learn", "numpy")


def write_report(workspace: Workspace, path: Path) -> Path:
    """Write `result/report.html` of a comparison whose `results.json` is there."""
    results = read_json(path / "result" / "results.json")
    chosen = TrainingSet.from_json(read_json(path / "set.json"))
    dataset = open_dataset(workspace, chosen.config.dataset)
    sets = [
        open_synthetic(workspace, n) for n in read_json(path / "result" / "synthetic.json").values()
    ]
    record = read_json(path / "run.json")
    cells = [read_json(p) for p in sorted((path / "result" / "cells").glob("*.json"))]
    lines = [
        {**{k: c[k] for k in ("arm", "schedule", "seed")}, **e}
        for c in sorted(cells, key=lambda c: (c["seed"], c["arm"], c["schedule"]))
        for e in c["curve"]
    ]
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True)
    page = environment.get_template("report.html.jinja").render(
        plotly=get_plotlyjs(),
        run=path.name,
        record=record,
        results=results,
        rows=table(results["results"]),
        recall=[(arm_name(r), [f"{100 * v:.1f}" for v in r["recall"]]) for r in results["results"]],
        chosen=chosen,
        dataset=dataset,
        bars=_bars(dataset, chosen, results),
        poses=_poses(dataset),
        samples=[block for s in sets for block in _samples(dataset, s)],
        training=[_training(workspace, s) for s in sets],
        curves=[(title, _plot(comparison_curves(lines, m))) for m, title in METRICS.items()],
        machine=f"{platform.platform()}, {platform.processor() or platform.machine()}",
        versions=[(name, version(name)) for name in VERSIONS],
    )
    target = path / "result" / "report.html"
    write_text(target, page)
    return target


def _plot(figure: go.Figure) -> str:
    html: str = figure.to_html(full_html=False, include_plotlyjs=False)
    return html


def _picture(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def _bars(dataset: Dataset, chosen: TrainingSet, results: dict[str, Any]) -> list[tuple[str, str]]:
    added = {k: v for r in results["results"] for k, v in r["added"].items()}
    filled = {c: added.get(c, 0) for c in chosen.classes}
    return [
        ("The dataset as it was imported", _plot(class_bars(dataset.counts()))),
        (
            "The training set, and what the arms add to it",
            _plot(class_bars({"real": chosen.counts, "synthetic": filled}, stacked=True)),
        ),
    ]


def _poses(dataset: Dataset) -> dict[str, Any] | None:
    """Elbow plot, and for each class a grid with a row a cluster, nearest to the centre first."""
    if not has_clustering(dataset):
        return None
    clustering = open_clustering(dataset)
    grids = []
    for label in dataset.classes:
        rows = cluster_rows(dataset, clustering, label, SHOWN)
        grids.append(
            (label, [(pose, _picture(grid(images, SHOWN))) for pose, images in rows.items()])
        )
    return {"elbow": _plot(elbow_plot(clustering.facts)), "facts": clustering.facts, "grids": grids}


def _samples(dataset: Dataset, synthetic: SyntheticSet) -> list[dict[str, Any]]:
    blocks = []
    for label in synthetic.counts:
        rows = sample_rows(dataset, synthetic, label, SHOWN)
        pictures = {
            "original": rows.originals,
            "generated": rows.generated,
            "nearest original": rows.nearest,
        }  # fmt: skip
        blocks.append({
            "generator": synthetic.generator,
            "label": label,
            "rows": [(name, _picture(grid(images, SHOWN))) for name, images in pictures.items()],
            "distances": ", ".join(f"{d:.1f}" for d in rows.distances),
        })  # fmt: skip
    return blocks


def _training(workspace: Workspace, synthetic: SyntheticSet) -> dict[str, Any]:
    """The generator's own curves and time, if its run is still there."""
    about = {
        "generator": synthetic.generator,
        "name": synthetic.name,
        "config": synthetic.provenance["training"],
        "plots": [],
        "seconds": None,
    }
    try:
        view = view_run(find_run(workspace, synthetic.provenance["run"]))
    except UserError:
        return about
    metrics = read_metrics(view.path)
    about["plots"] = [_plot(loss_curves(metrics, names)) for names in loss_groups(metrics)]
    if "finished" in view.state:
        about["seconds"] = view.state["finished"] - view.state["started"]
    return about
