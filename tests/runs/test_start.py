"""One way to start anything: what `start_run` checks and records, and what kinds declare."""

import ast
from pathlib import Path
from typing import Any

import pytest
from commands import command
from pydantic import Field

import rebalance_core
from rebalance_core import catalogue
from rebalance_core.config import Config, NewSynthetic, RunRef, reference_fields, references
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.removal import remove_run_with_dependents, run_dependents
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import list_runs, open_run, remove_run, view_run
from rebalance_core.runs.leftovers import remove_all_leftovers
from rebalance_core.runs.lineage import parents
from rebalance_core.runs.spec import JobSpec, job_specs, load_named, target_specs
from rebalance_core.runs.start import record_run, start_run, wait_for
from rebalance_core.synthesis.denoising import DenoiseConfig
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.synthesis.scoring import ScoreConfig
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


def finished(workspace: Workspace, config: Config, **changes: Any) -> str:
    path = record_run(workspace, config)
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})
    return path.name


@pytest.fixture
def trained(workspace: Workspace, phantom: Dataset) -> str:
    """A training run that is done, as far as its state says."""
    return finished(workspace, TrainConfig.make("ddpm", "phantom", "quick", seed=7))


def test_a_run_is_named_and_keeps_its_seed(workspace: Workspace, trained: str) -> None:
    record = open_run(workspace, trained).record
    assert (record.kind, record.name) == ("train", "ddpm on phantom")
    assert (record.seed, record.parents) == (7, [])


def test_a_run_is_recorded_with_the_whole_ids_of_its_parents(
    workspace: Workspace, trained: str
) -> None:
    config = SampleConfig(run=trained[-4:], name="made", seed=3)
    view = view_run(record_run(workspace, config))
    assert (view.config["run"], view.parents) == (trained, [trained])
    assert (view.name, view.record.seed) == ("sample made", 3)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (PosesConfig(dataset="nothing"), "There is no dataset 'nothing'"),
        (TrainConfig.make("ddpm", "nothing", "quick"), "There is no training set or dataset"),
        (SampleConfig(run="nothing", name="made"), "no run named 'nothing'"),
        (DenoiseConfig(run="nothing", label="glioma"), "no run named 'nothing'"),
        (ScoreConfig(synthetic="nothing"), "There is no synthetic set 'nothing'"),
        (SetConfig(dataset="phantom"), "A SetConfig is not the config of a run."),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_written(
    workspace: Workspace, phantom: Dataset, config: Config, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        start_run(workspace, config)
    assert list_runs(workspace) == []


def test_a_command_records_what_the_same_config_records_here(
    workspace: Workspace, phantom: Dataset
) -> None:
    """Pages call `start_run` too: see `test_nothing_else_makes_or_starts_a_run`."""
    config = TrainConfig.make("bagan-gp", "phantom", "quick", seed=5, epochs=1)
    here = open_run(workspace, finished(workspace, config)).record.model_dump()
    options = ("--seed", "5", "--set", "epochs=1", "--detach", "--json")
    done = command(workspace.root, "train", "bagan-gp", "phantom", *options)
    assert done.returncode == 0, done.stderr
    (there,) = (v for v in list_runs(workspace) if v.record.created != here["created"])
    with pytest.raises(UserError):
        wait_for(command_cancelled(workspace, there.id))
    ignored = ("created", "code")
    assert {k: v for k, v in there.record.model_dump().items() if k not in ignored} == {
        k: v for k, v in here.items() if k not in ignored
    }


def command_cancelled(workspace: Workspace, run_id: str) -> Any:
    command(workspace.root, "runs", "cancel", run_id)
    return open_run(workspace, run_id)


def callers(name: str) -> set[str]:
    """Modules of the core and the pages that use a function of this name."""
    found = set()
    for path in [*(ROOT / "rebalance_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]:
        nodes = ast.walk(ast.parse(path.read_text()))
        if any(isinstance(node, ast.Name) and node.id == name for node in nodes):
            found.add(str(path.relative_to(ROOT)))
    return found


def test_nothing_else_makes_or_starts_a_run() -> None:
    assert callers("create_run") == {"rebalance_core/runs/start.py"}
    assert callers("spawn") == {"rebalance_core/runs/start.py"}
    assert callers("_spawn_locked") == {"rebalance_core/runs/executor.py"}
    assert callers("record_run") == {"rebalance_core/runs/start.py", "rebalance_core/study.py"}


@pytest.mark.parametrize("kind", sorted(job_specs()))
def test_every_kind_of_run_is_complete(kind: str) -> None:
    spec = job_specs()[kind]
    assert spec.kind == kind
    fields = set(spec.config_type.model_fields)
    assert spec.title.format_map(dict.fromkeys(fields, "x"))
    assert set(spec.listed) <= fields
    for name in (spec.function, spec.check, spec.prepare, spec.references, spec.cleanup):
        assert name is None or callable(load_named(name))
    for marks in reference_fields(spec.config_type).values():
        for mark in marks:
            assert mark.creates or mark.target in target_specs()
            assert mark.creates or callable(load_named(target_specs()[mark.target].open))


def test_references_are_found_at_any_depth() -> None:
    class Deep(Config):
        one: RunRef
        none: RunRef | None = None
        many: tuple[RunRef, ...] = ()
        named: dict[str, RunRef] = Field(default_factory=dict)
        made: NewSynthetic = ""
        plain: str = ""

    values = {"one": "a", "many": ["b", "c"], "named": {"x": "d"}, "made": "e", "plain": "f"}
    found = references(Deep, values)
    assert [name for mark, name in found if mark.target == "run"] == ["a", "b", "c", "d"]
    assert [name for mark, name in found if mark.creates] == ["e"]
    assert references(Deep, {"one": 3, "many": [None, {}], "named": "x"}) == [(found[0][0], "x")]


class Painting(Config):
    """Of a kind of run that no other file knows."""

    run: RunRef
    picture: NewSynthetic
    seed: int = 0


def paint(workspace: Workspace, run: Any) -> dict[str, Any]:
    return {}


@pytest.fixture
def painting(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec(
        kind="paint",
        title="paint {picture}",
        config=f"{__name__}:Painting",
        function=f"{__name__}:paint",
        device=False,
    )
    monkeypatch.setattr(catalogue, "JOBS", {**catalogue.JOBS, "paint": spec})


@pytest.mark.usefixtures("painting")
def test_a_new_kind_has_lineage_removal_and_clean_up_by_its_types(
    workspace: Workspace, trained: str
) -> None:
    painted = finished(workspace, Painting(run=trained, picture="sunset", seed=4))
    scored = create_run(workspace, "score", {"synthetic": "sunset"}, name="score sunset").name
    write_json(workspace.runs / scored / "state.json", {"status": "done", "heartbeat": 0.0})
    assert open_run(workspace, painted).record.seed == 4
    assert parents(workspace, list_runs(workspace)) == {
        trained: [],
        painted: [trained],
        scored: [painted],
    }
    assert {view.id for view in run_dependents(workspace, trained).runs} == {painted, scored}
    unfinished = workspace.partial_samples(painted)
    unfinished.mkdir(parents=True)
    remove_all_leftovers(workspace)
    assert unfinished.exists()  # its run may be resumed
    remove_run(workspace, painted)
    assert not unfinished.exists()
    unfinished.mkdir(parents=True)
    remove_all_leftovers(workspace)
    assert not unfinished.exists()
    remove_run_with_dependents(workspace, trained)
    assert [view.id for view in list_runs(workspace)] == [scored]  # its parent was gone before


def test_a_later_set_of_the_same_name_has_its_own_maker(workspace: Workspace, trained: str) -> None:
    first = finished(workspace, SampleConfig(run=trained, name="made"))
    scored = [create_run(workspace, "score", {"synthetic": "made"}, name="score").name]
    second = finished(workspace, SampleConfig(run=trained, name="made"))
    scored.append(create_run(workspace, "score", {"synthetic": "made"}, name="score").name)
    found = parents(workspace, list_runs(workspace))
    assert [found[run] for run in scored] == [[first], [second]]


def test_the_public_names_are_there_and_cost_nothing_to_import() -> None:
    for name in rebalance_core.__all__:
        assert getattr(rebalance_core, name).__module__.startswith("rebalance_core.")
    assert set(rebalance_core.__all__) == set(rebalance_core._MODULES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(rebalance_core, "nothing")  # noqa: B009
