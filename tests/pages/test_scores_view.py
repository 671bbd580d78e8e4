"""The Quality and Filters views of the Samples page: empty, scored, filtered, weights missing."""

from collections.abc import Callable
from typing import Any

import pytest
from sets import synthetic_set
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.filtering import FilterConfig
from rebalance_core.synthesis.records import METRICS
from rebalance_core.synthesis.scoring import ScoreConfig
from rebalance_core.synthesis.synthetic_set import open_synthetic, remove_synthetic
from rebalance_core.system.files import write_json
from rebalance_core.workspace import Workspace

VIEW = """
from pages.parts.{part} import {part}
from rebalance_core.synthesis.synthetic_set import open_synthetic
from rebalance_core.workspace import Workspace
workspace = Workspace.from_environment()
{part}(workspace, open_synthetic(workspace, {name!r}))
"""
View = Callable[[str, str], AppTest]


@pytest.fixture
def view() -> View:
    def drawn(part: str, name: str) -> AppTest:
        app = AppTest.from_string(VIEW.format(part=part, name=name), default_timeout=60).run()
        assert not app.exception and not app.error
        return app

    return drawn


def words(app: AppTest) -> str:
    return "\n".join(str(e.value) for e in (*app.markdown, *app.caption, *app.info, *app.warning))


def scored(workspace: Workspace, name: str) -> None:
    found = open_synthetic(workspace, name)
    config = ScoreConfig(synthetic=name).model_dump(mode="json")
    path = create_run(workspace, "score", config, name=f"score {name}")
    figure = {"generated": 3.0, "real": 1.0, "generated_spread": 0.2, "real_spread": 0.1}
    told: dict[str, Any] = {
        "provenance": found.provenance.digest,
        "network": "a ResNet-18 trained on phantom",
        "components": 32,
        "titles": {n: title for n, (title, _) in METRICS.items()},
        "classes": {
            "glioma": {
                "images": 3,
                "real": 9,
                "compared": 4,
                "warnings": ["glioma: too few."],
                "figures": {"frechet": figure, "memorised": {"generated": 0.1, "real": 0.0}},
            }
        },
    }
    write_json(path / "result" / "scores.json", told)
    RunDirectory(path).end("done")


def test_scores_are_empty_first_then_shown_beside_their_floor(
    workspace: Workspace, phantom: Dataset, view: View
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom", count=3)
    assert "Not scored yet" in words(view("scores", name))
    scored(workspace, name)
    app = view("scores", name)
    told = words(app)
    assert (
        "(not the FID of the literature) in the features of a ResNet-18 trained on phantom, in 32 "
        in told
    )
    assert "glioma: too few." in told
    (table,) = (t.value for t in app.dataframe)
    assert table.loc[0, ["Fréchet distance", "Fréchet distance, real"]].tolist() == [3.0, 1.0]
    remove_synthetic(workspace, name)
    synthetic_set(workspace, "ddpm", "phantom", count=4)
    assert "Not scored yet" in words(view("scores", name)), "those were of another set"


def test_a_network_without_weights_offers_them_before_it_scores(
    workspace: Workspace, phantom: Dataset, view: View
) -> None:
    app = view("scores", synthetic_set(workspace, "ddpm", "phantom", count=3))
    app.selectbox[0].select("inception").run()
    assert not app.exception
    assert "Inception v3's pretrained weights are not on this machine" in words(app)
    assert [b.label for b in app.button if not b.disabled] == [
        "Download Inception v3's weights (104 MB)"
    ]


def test_a_filtered_set_tells_what_was_taken_out(
    workspace: Workspace, phantom: Dataset, view: View
) -> None:
    name = synthetic_set(workspace, "ddpm", "phantom", count=3)
    app = view("filters", name)
    assert "this set is not changed" in words(app)
    assert [b.label for b in app.button if b.disabled] == ["Filter"]
    config = FilterConfig(synthetic=name, name="clean", without=("glioma/000001.png",))
    path = create_run(workspace, "filter", config.model_dump(mode="json"), name="filter")
    execute(workspace, RunDirectory(path))
    told = words(view("filters", "clean"))
    assert f"Removed from **{name}**, removed by hand: glioma 1" in told
    remove_synthetic(workspace, name)
    app = view("filters", "clean")
    assert "no longer exists, nor do the images" in words(app)
    assert [t.value for t in app.text] == ["glioma/000001.png"]
