"""What a run came from and what came of it, and what goes with it when it is removed."""

import io
import json
from typing import Any

import pytest
import typer

from rebalance_core import cli
from rebalance_core.errors import UserError
from rebalance_core.removal import remove_run_with_dependents, run_dependents
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import describe, list_runs
from rebalance_core.runs.lineage import lineage, parents
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.workspace import Workspace


def run(workspace: Workspace, kind: str, *, parents: list[str] | None = None, **config: Any) -> str:
    """A run that is done."""
    path = create_run(workspace, kind, config, name=f"{kind} it", parents=parents or ())
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})
    return path.name


@pytest.fixture
def way(workspace: Workspace) -> dict[str, str]:
    """{step: run id} of the whole way, once with and once without poses, and a stranger."""
    poses = {"config": {"dataset": "pets", "poses": ["axial"]}}
    write_json(workspace.sets / "posed.json", poses)
    write_json(workspace.sets / "plain.json", {"config": {"dataset": "pets", "poses": []}})
    ids = {"import": run(workspace, "import", name="pets", source="x")}
    ids["poses"] = run(workspace, "poses", dataset="pets")
    ids["stranger"] = run(workspace, "import", name="others", source="x")
    for name in ("posed", "plain"):
        ids[f"train {name}"] = run(workspace, "train", set=name)
        ids[f"sample {name}"] = run(
            workspace, "sample", run=ids[f"train {name}"], name=f"{name} images"
        )
        about = {
            "run": ids[f"train {name}"],
            "sample_run": ids[f"sample {name}"],
            "training_set": {"config": {"dataset": "pets"}},
        }
        write_json(workspace.synthetic / f"{name} images" / "provenance.json", about)
    ids["compare"] = run(workspace, "compare", set="plain", synthetic={"ddpm": "plain images"})
    return ids


@pytest.mark.parametrize("kind", ["sample", "denoise", "interpolate"])
def test_what_a_generator_made_hangs_on_its_training(workspace: Workspace, kind: str) -> None:
    trained = run(workspace, "train", set="plain", generator="bagan-gp", training={})
    made = run(workspace, kind, run=trained)
    assert parents(workspace, list_runs(workspace))[made] == [trained]
    assert [view.id for view in run_dependents(workspace, trained).runs] == [made]


def test_each_run_came_from_what_it_used(workspace: Workspace, way: dict[str, str]) -> None:
    names = {run_id: step for step, run_id in way.items()}
    found = parents(workspace, list_runs(workspace))
    assert {names[k]: sorted(names[p] for p in v) for k, v in found.items()} == {
        "import": [],
        "stranger": [],
        "poses": ["import"],
        "train posed": ["poses"],
        "train plain": ["import"],
        "sample posed": ["train posed"],
        "sample plain": ["train plain"],
        "compare": ["import", "sample plain"],
    }


@pytest.mark.parametrize(
    ("chosen", "members"),
    [
        ("train posed", {"import", "poses", "train posed", "sample posed"}),
        ("compare", {"import", "train plain", "sample plain", "compare"}),
        ("stranger", {"stranger"}),
        ("sample plain", {"import", "train plain", "sample plain", "compare"}),
    ],
)
def test_a_lineage_is_what_came_before_and_after(
    workspace: Workspace, way: dict[str, str], chosen: str, members: set[str]
) -> None:
    found = lineage(workspace, list_runs(workspace), way[chosen])
    assert {view.id for view in found.members} == {way[name] for name in members}
    assert all({parent, child} <= {way[n] for n in members} for parent, child in found.links)


def test_a_comparison_that_chose_its_images_itself_came_from_them(
    workspace: Workspace, way: dict[str, str]
) -> None:
    compare = run(workspace, "compare", set="plain")
    result = workspace.runs / compare / "result" / "synthetic.json"
    write_json(result, {"ddpm": "posed images"})
    found = parents(workspace, list_runs(workspace))
    assert found[compare] == [way["import"], way["sample posed"]]


def test_a_graph_shows_names_as_text(workspace: Workspace, way: dict[str, str]) -> None:
    describe(workspace, way["compare"], name='"]; evil [label="\\')
    dot = lineage(workspace, list_runs(workspace), way["compare"]).to_dot(way["compare"])
    (line,) = (line for line in dot.splitlines() if "evil" in line)
    assert line == (
        f'"{way["compare"]}" [label="compare\\n\\"]; evil [label=\\"\\\\\\ndone", '
        'fillcolor="#dcefe3", penwidth=3];'
    )
    assert f'"{way["sample plain"]}" -> "{way["compare"]}";' in dot.splitlines()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("import", ""),  # the dataset has a place of its own
        ("poses", ""),
        ("train plain", "2 runs; synthetic sets plain images"),
        ("sample plain", "1 run; synthetic sets plain images"),
        ("train posed", "1 run; synthetic sets posed images"),
        ("compare", ""),
    ],
)
def test_what_depends_on_a_run(
    workspace: Workspace, way: dict[str, str], step: str, words: str
) -> None:
    assert run_dependents(workspace, way[step]).summary == words


def test_the_steps_of_a_study_depend_on_it(workspace: Workspace) -> None:
    study = run(workspace, "study", dataset="pets")
    train = run(workspace, "train", parents=[study], set="pets")
    sample = run(workspace, "sample", parents=[study], run=train, name="made")
    found = run_dependents(workspace, study)
    assert {view.id for view in found.runs} == {train, sample}


def test_a_run_goes_with_all_that_came_of_it(workspace: Workspace, way: dict[str, str]) -> None:
    path = workspace.runs / way["sample plain"] / "state.json"
    state = read_json(path)
    write_json(path, {**state, "status": "running", **current_process()})
    with pytest.raises(UserError) as told:
        remove_run_with_dependents(workspace, way["train plain"])
    assert str(told.value) == f"Run {way['sample plain']} is running; cancel it first."
    assert len(list_runs(workspace)) == 8
    write_json(path, state)
    remove_run_with_dependents(workspace, way["train plain"])
    left = {"import", "poses", "stranger", "train posed", "sample posed"}
    assert {view.id for view in list_runs(workspace)} == {way[name] for name in left}
    assert list_synthetic(workspace) == ["posed images"]


def test_the_command_line_says_what_stays_and_what_goes(
    workspace: Workspace,
    way: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove = ["runs", "remove", way["train plain"], "--json"]
    came = "2 runs; synthetic sets plain images"
    for option, fate in (
        ([], "stays but cannot be continued"),
        (["--with-dependents"], "goes with it"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        with pytest.raises(typer.Abort):
            cli.app([*remove, *option], standalone_mode=False)
        assert f"What came of it {fate}: {came}. [y/N]" in capsys.readouterr().err
    assert len(list_runs(workspace)) == 8
    cli.app([*remove, "--with-dependents", "--yes"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told == {"removed": way["train plain"], "with": came}
    assert len(list_runs(workspace)) == 5
