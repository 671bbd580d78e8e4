"""A measure is declared in one place; whatever lists, formats or plots measures follows it."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command
from sklearn.metrics import cohen_kappa_score
from streamlit.testing.v1 import AppTest
from test_grid import config_of, run_of

from rebalance_core import catalogue
from rebalance_core.classifiers.measures import (
    PRIMARY,
    Measure,
    check_measure,
    curve_titles,
    find_measure,
    measures,
)
from rebalance_core.comparison.cells import read_finished
from rebalance_core.comparison.job import compare_job
from rebalance_core.comparison.records import read_cells
from rebalance_core.comparison.results import read_results
from rebalance_core.comparison.table import columns, table
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.system.files import read_json, write_json
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


def kappa(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(cohen_kappa_score(labels, probabilities.argmax(axis=1)))


def not_a_number(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float("nan")


KAPPA = Measure(
    "kappa",
    "Cohen's kappa",
    "test_measures:kappa",
    bounds=(-1.0, 1.0),
    scale=1.0,
    decimals=3,
    curves=("validation", "test"),
)


@pytest.fixture
def with_kappa(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one place that is changed."""
    monkeypatch.setattr(catalogue, "MEASURES", (*catalogue.MEASURES, "test_measures:KAPPA"))
    yield


def finished(workspace: Workspace, **changes: Any) -> Path:
    """A comparison of two arms as its worker leaves it."""
    run = run_of(workspace, config_of(arms=("none", "oversample"), **changes))
    write_json(run.path / "result" / "result.json", compare_job(workspace, run))
    write_json(run.path / "state.json", {**read_json(run.path / "state.json"), "status": "done"})
    return run.path


def page_of(run: Path) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.query_params["set"], app.query_params["run"] = "phantom", run.name
    app.switch_page("pages/comparison.py").run()
    assert not app.exception
    return app


def test_a_measure_added_to_the_list_appears_everywhere(
    workspace: Workspace, phantom: Dataset, with_kappa: None
) -> None:
    run = finished(workspace)
    # cells and rows
    cells = read_cells(run)
    for cell in cells:
        assert -1 <= cell.best.test.measures["kappa"] <= 1
        assert "validation_kappa" in cell.curve[0].model_dump()
    results = read_results(workspace, run)
    assert results is not None
    values = [row.measures["kappa"] for row in results.results]
    assert values == [cell.best.test.measures["kappa"] for cell in cells]
    # the table: heading and decimals
    shown, lines = table(results.results)
    place = next(k for k, column in enumerate(shown) if column.title == "Cohen's kappa")
    assert [shown[place].format(line[place]) for line in lines] == [f"{v:.3f}" for v in values]
    # --json
    result = json.loads(command(workspace.root, "runs", "show", run.name, "--json").stdout)
    assert [row["kappa"] for row in result["result"]["results"]] == values
    # the page: table and plot
    app = page_of(run)
    frame = next(d.value for d in app.dataframe if "Cohen's kappa" in d.value.columns)
    assert frame["Cohen's kappa"].tolist() == values
    curves = next(box for box in app.selectbox if box.label == "Curve")
    assert "Cohen's kappa, validation" in curves.options
    curves.set_value("validation_kappa").run()
    assert not app.exception
    plots = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    titles = [p["layout"].get("yaxis", {}).get("title", {}).get("text") for p in plots]
    assert "Cohen's kappa, validation" in titles
    # the report: table, curves, each classifier; and the tables beside it
    report = (run / "result" / "report.html").read_text()
    assert report.count(">Cohen&#39;s kappa</th>") == 2
    assert "<h3>Cohen&#39;s kappa, validation</h3>" in report
    assert f"<td>{values[0]:.3f}</td>" in report
    with (run / "result" / "cells.csv").open(newline="") as file:
        assert [float(line["test_kappa"]) for line in csv.DictReader(file)] == values


def test_results_of_before_a_measure_are_read_and_their_cells_trained_again(
    workspace: Workspace, phantom: Dataset, request: pytest.FixtureRequest
) -> None:
    before = finished(workspace)
    request.getfixturevalue("with_kappa")
    results = read_results(workspace, before)
    assert results is not None
    assert "Cohen's kappa" not in [column.title for column in table(results.results)[0]]
    page_of(before)
    (path, *_) = (before / "result" / "cells").glob("*.json")
    assert read_finished(path, path.stem, with_curve=False) is None
    assert all("kappa" in cell.best.test.measures for cell in read_cells(finished(workspace)))


def test_a_measure_outside_its_bounds_is_damage(
    workspace: Workspace, phantom: Dataset, with_kappa: None
) -> None:
    run = finished(workspace)
    (path, *_) = (run / "result" / "cells").iterdir()
    cell = read_json(path)
    for value in (-1.5, 7, "x", True, [], 10**400):
        cell["best"]["test"]["kappa"] = value
        write_json(path, cell)
        with pytest.raises(UserError, match=r"is damaged \(best\.test.*kappa"):
            read_cells(run)


def test_an_unknown_measure_names_those_there_are() -> None:
    with pytest.raises(UserError) as error:
        find_measure("f2")
    assert str(error.value) == (
        "There is no measure 'f2'; choose one of macro_f1, accuracy, balanced_accuracy, auroc, "
        "auprc, rare_recall, calibration_error, brier, nll."
    )


@pytest.mark.parametrize("key", measures())
def test_a_built_in_measure_lacks_nothing(key: str) -> None:
    measure = find_measure(key)
    check_measure(measure)
    assert (measure.key, measure.heading[0]) == (key, measure.title[0].upper())
    assert f"validation_{key}" in curve_titles()
    assert measure.heading in [column.title for column in columns()]
    perfect = np.eye(3)[[0, 1, 2, 0]]
    best = measure.bounds[measure.higher_is_better]
    assert measure.value(perfect, np.array([0, 1, 2, 0])) == pytest.approx(best)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "Kappa"}, "the key 'Kappa' of a measure is not a free lower-case name"),
        ({"key": "recall"}, "the key 'recall' of a measure is not a free lower-case name"),
        ({"title": " "}, "the measure kappa lacks its title"),
        ({"compute": ""}, "the measure kappa lacks its compute"),
        ({"bounds": (1.0, 1.0)}, "the bounds of the measure kappa are not in order"),
        ({"decimals": -1}, "the scale or the decimals of the measure kappa are negative"),
        ({"key": PRIMARY, "higher_is_better": False}, "higher has to be better"),
    ],
)
def test_what_a_measure_lacks_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_measure(replace(KAPPA, **changes))


def test_a_key_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MEASURES", (*catalogue.MEASURES, catalogue.MEASURES[0]))
    with pytest.raises(ValueError, match="there are two measures macro_f1"):
        measures()


def test_an_undefined_value_is_none() -> None:
    one_class = np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0])
    assert find_measure("auroc").value(*one_class) is None
    undefined = replace(KAPPA, compute="test_measures:not_a_number")
    assert undefined.value(*one_class) is None
    assert (KAPPA.format(None), KAPPA.format(-0.25)) == ("–", "-0.250")
    assert find_measure(PRIMARY).format(0.5) == "50.00"
