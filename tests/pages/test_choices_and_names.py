"""Choices, suggested names and messages on the pages that have them."""

import shutil
from typing import Any

import pytest
from opening import opened
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.worker import execute
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace


def box(app: AppTest, label: str) -> Any:
    return next(s for s in app.selectbox if s.label == label)


def field(app: AppTest, label: str) -> Any:
    return next(t for t in app.text_input if t.label == label)


def pick(app: AppTest, label: str, option: str) -> None:
    box(app, label).set_value(option).run()
    assert not app.exception


def press(app: AppTest, label: str) -> None:
    next(b for b in app.button if b.label == label).click().run()
    assert not app.exception


def trained(workspace: Workspace, name: str, on: str) -> str:
    """The id of a training that ended, without a model."""
    config = {"set": on, "generator": "ddpm", "training": {"preset": "quick"}}
    path = create_run(workspace, "train", config, name=name)
    state = read_json(path / "state.json")
    write_json(path / "state.json", {**state, "status": "done", "started": 0.0, "finished": 1.0})
    return path.name


@pytest.fixture
def two(workspace: Workspace, phantom: Dataset) -> list[str]:
    """Two datasets, a copy of the other, by name."""
    copy = phantom.path.with_name("copy")
    shutil.copytree(phantom.path, copy, symlinks=True)
    return ["copy", phantom.name]


@pytest.mark.parametrize("page", ["data", "poses"])
def test_the_first_pick_of_a_dataset_is_taken_and_a_removed_one_is_not_shown(
    page: str, workspace: Workspace, two: list[str]
) -> None:
    app = opened(page)
    assert box(app, "Dataset").value == two[0]
    for name in (two[1], two[0], two[1]):
        pick(app, "Dataset", name)
        assert box(app, "Dataset").value == name
        assert app.query_params["dataset"] == name
    shutil.rmtree(workspace.datasets / two[1])
    app.run()
    assert not app.exception
    assert box(app, "Dataset").value == two[0]
    assert app.query_params["dataset"] == two[0]


def test_another_training_set_shows_its_own_run(workspace: Workspace, phantom: Dataset) -> None:
    make_set(workspace, "a", SetConfig(dataset=phantom.name))
    make_set(workspace, "b", SetConfig(dataset=phantom.name))
    old, new, other = (trained(workspace, n, on) for n, on in (("1", "a"), ("2", "a"), ("3", "b")))
    app = opened("generators")
    assert (box(app, "Training set").value, box(app, "Run").value) == ("a", new)
    pick(app, "Run", old)
    assert box(app, "Run").value == old
    pick(app, "Training set", "b")
    assert (box(app, "Training set").value, box(app, "Run").value) == ("b", other)
    assert app.query_params["run"] == other
    # what another page chose is not carried here
    app.switch_page("pages/runs.py").run()
    pick(app, "Run", old)
    app.query_params.clear()  # as the sidebar does
    app.switch_page("pages/generators.py").run()
    assert (box(app, "Training set").value, box(app, "Run").value) == ("a", new)


def test_an_address_is_followed_on_arrival_and_one_from_before_is_not(
    workspace: Workspace, phantom: Dataset
) -> None:
    for name in ("a", "b"):
        make_set(workspace, name, SetConfig(dataset=phantom.name))
    app = opened("home")
    app.query_params["set"] = "b"
    app.switch_page("pages/comparison.py").run()
    assert box(app, "Training set").value == "b"
    pick(app, "Training set", "a")
    app.query_params["set"] = "b"  # a browser that has not yet received the new address
    app.run()
    assert box(app, "Training set").value == "a"
    assert app.query_params["set"] == "a"


@pytest.fixture
def smotes(workspace: Workspace, phantom: Dataset, smote: str) -> list[str]:
    """Ids of two SMOTEs, one on a set `a`, the newest first."""
    make_set(workspace, "a", SetConfig(dataset=phantom.name))
    found = []
    for name in (phantom.name, "a"):
        config = TrainConfig.make(smote, name, "quick").model_dump(mode="json")
        path = create_run(workspace, "train", config, name=f"smote on {name}")
        execute(workspace, RunDirectory(path))
        found.insert(0, path.name)
    return found


def test_a_name_follows_what_it_was_suggested_for_until_one_is_typed(
    phantom: Dataset, smotes: list[str]
) -> None:
    app, label = opened("samples"), "Name of the synthetic set"
    assert field(app, label).value == "a-smote"
    pick(app, "Generator", smotes[1])
    assert field(app, label).value == f"{phantom.name}-smote"
    # a browser that has not yet received it sends the one before
    field(app, label).set_value("a-smote").run()
    assert field(app, label).value == f"{phantom.name}-smote"
    field(app, label).set_value("mine").run()
    pick(app, "Generator", smotes[0])
    assert field(app, label).value == "mine"
    field(app, label).set_value("").run()
    assert field(app, label).value == "a-smote"


def test_a_typed_name_of_a_dataset_is_not_replaced(workspace: Workspace) -> None:
    app = opened("data")

    def name() -> Any:
        """The name beside the built-in datasets; the first one is that of a path."""
        return [each for each in app.text_input if each.label == "Name"][1]

    assert name().value == "phantom"
    source = next(r for r in app.radio if r.label == "Source")
    source.set_value("digits").run()
    assert name().value == "digits"
    name().set_value("mine").run()
    source = next(r for r in app.radio if r.label == "Source")
    source.set_value("phantom").run()
    assert name().value == "mine"


def test_what_a_button_did_is_shown_once_the_page_is_drawn_anew(
    workspace: Workspace, two: list[str]
) -> None:
    app = opened("data")
    press(app, "Save training set")
    assert [t.value for t in app.toast] == ["Saved copy-official: 75 training images."]
    line = "Saved copy-official: 75 training images. Next: Poses or Generators."
    assert line in [s.value for s in app.success]
    next(c for c in app.checkbox if c.label == "Yes, remove copy").check().run()
    assert not app.toast
    press(app, "Remove")
    assert [t.value for t in app.toast] == ["Removed dataset copy."]
    assert line not in [s.value for s in app.success]
    assert box(app, "Dataset").value == two[1]


def test_an_address_of_what_is_not_there_is_told(workspace: Workspace, phantom: Dataset) -> None:
    app = opened("home")
    app.query_params["dataset"] = "gone*"
    app.switch_page("pages/data.py").run()
    assert box(app, "Dataset").value == phantom.name
    told = rf"Dataset gone\* is not here, or not yet; {phantom.name} is shown."
    assert told in [caption.value for caption in app.caption]
