"""What a removal leaves without its dataset is named, and nothing is taken from a live run."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import command

sys.path.append(str(Path(__file__).parent / "datasets"))
from sources import folders, import_source, leftovers, refusal, unpack

from rebalance_core.errors import UserError
from rebalance_core.removal import dataset_dependents, remove_dataset_only
from rebalance_core.runs.directory import create_run
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import list_sets, make_set
from rebalance_core.workspace import Workspace


def set_state(path: Path, **state: Any) -> None:
    write_json(path / "state.json", {**read_json(path / "state.json"), **state})


def run(workspace: Workspace, kind: str, status: str = "done", **config: Any) -> Path:
    """A run that this process does, or did."""
    path = create_run(workspace, kind, config, name=kind)
    set_state(path, status=status, **current_process())
    return path


@pytest.fixture
def pets(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Datasets `pets` and `others`, and what was made of both."""
    source = unpack(tmp_path / "source", folders({"cat": 9, "dog": 5}))
    for name in ("pets", "others"):
        import_source(workspace, source, name)
        make_set(workspace, f"{name}-skewed", SetConfig(dataset=name, skew="step:3"))
        made = workspace.synthetic / f"{name} made" / "provenance.json"
        write_json(made, {"training_set": {"config": {"dataset": name}}})
        run(workspace, "import", name=name, source=str(source))
        run(workspace, "poses", dataset=name)
        trained = run(workspace, "train", "failed", set=f"{name}-skewed")
        run(workspace, "sample", run=trained.name)
        run(workspace, "compare", set=name)
    return workspace


def test_all_that_was_made_of_a_dataset_depends_on_it(pets: Workspace) -> None:
    found = dataset_dependents(pets, "pets")
    assert found.sets == ("pets-skewed",)
    assert sorted(view.kind for view in found.runs) == ["compare", "poses", "sample", "train"]
    assert found.synthetic == ("pets made",)
    assert found.summary == "training sets pets-skewed; 4 runs; synthetic sets pets made"


def test_on_a_dataset_alone_nothing_depends(workspace: Workspace, tmp_path: Path) -> None:
    import_source(workspace, unpack(tmp_path / "source", folders({"cat": 9, "dog": 5})), "pets")
    assert dataset_dependents(workspace, "pets").summary == ""
    make_set(workspace, "b", SetConfig(dataset="pets"))
    make_set(workspace, "a", SetConfig(dataset="pets"))
    run(workspace, "poses", dataset="pets")
    assert dataset_dependents(workspace, "pets").summary == "training sets a, b; 1 run"


def test_a_removal_takes_the_dataset_alone(pets: Workspace) -> None:
    runs = sorted(p.name for p in pets.runs.iterdir())
    assert remove_dataset_only(pets, "pets").summary.startswith(
        "training sets pets-skewed; 4 runs; "
    )
    assert leftovers(pets) == ["others"]
    assert list_sets(pets) == ["others-skewed", "pets-skewed"]
    assert sorted(p.name for p in pets.runs.iterdir()) == runs
    assert (pets.synthetic / "pets made" / "provenance.json").exists()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("poses", {"dataset": "pets"}),
        ("study", {"dataset": "pets"}),
        ("train", {"set": "pets-skewed"}),
        ("compare", {"set": "pets"}),
        ("import", {"name": "pets"}),
    ],
)
def test_a_dataset_that_a_run_works_on_stays(
    pets: Workspace, kind: str, config: dict[str, Any]
) -> None:
    path = run(pets, kind, "running", **config)
    with pytest.raises(UserError) as told:
        remove_dataset_only(pets, "pets")
    assert str(told.value) == f"Run {path.name} uses dataset pets; cancel it first."
    assert leftovers(pets) == ["others", "pets"]
    assert remove_dataset_only(pets, "others").sets == ("others-skewed",)
    set_state(path, status="cancelled")
    remove_dataset_only(pets, "pets")
    assert leftovers(pets) == []


def test_the_command_line_names_what_depends_before_it_removes(pets: Workspace) -> None:
    remove = ("datasets", "remove", "pets", "--json")
    asked = command(pets.root, *remove, typed="n\n")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert (
        "Remove dataset pets with all its images? What depends on it stays but cannot be "
        "continued: training sets pets-skewed; 4 runs; synthetic sets pets made. [y/N]: "
    ) in asked.stderr
    assert leftovers(pets) == ["others", "pets"]
    path = run(pets, "train", "running", set="pets")
    refused = refusal(command(pets.root, *remove, "--yes"))
    assert refused == f"Run {path.name} uses dataset pets; cancel it first."
    set_state(path, status="done")
    removed = command(pets.root, *remove, typed="y\n")
    assert json.loads(removed.stdout) == {
        "removed": "pets",
        "left": "training sets pets-skewed; 5 runs; synthetic sets pets made",
    }
    assert leftovers(pets) == ["others"]
