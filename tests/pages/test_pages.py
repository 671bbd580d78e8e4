"""Every page, empty first, then with work done."""

from collections.abc import Iterator

import pytest
from opening import opened
from streamlit.testing.v1 import AppTest

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import Config
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.workspace import HOME_VARIABLE, Workspace

EMPTY = {
    "home": "No data yet",
    "data": "No dataset yet",
    "poses": "There is no dataset yet",
    "generators": "There is no training set yet",
    "samples": "There is no trained generator yet",
    "comparison": "There is no training set yet",
    "runs": "No runs yet",
    "settings": "The environment the studio runs in",
}
FULL = {
    "home": "1 finished",
    "data": "training images, ",
    "poses": "in every class",
    "generators": "Last step",
    "samples": "never picked",
    "comparison": "With 1 seed (skew and generator fixed) nothing can be tested",
    "runs": ":material/check: done",
}


def text_of(app: AppTest) -> str:
    elements = [*app.markdown, *app.caption, *app.info, *app.warning, *app.success, *app.error]
    return "\n".join(str(e.value) for e in elements)


def do(workspace: Workspace, kind: str, config: Config, name: str) -> str:
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=name)
    execute(workspace, RunDirectory(path))
    return path.name


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which every kind of run has been done once, tiny."""
    workspace = Workspace(tmp_path_factory.mktemp("worked"))
    do(
        workspace,
        "import",
        ImportConfig(name="p", source="phantom", count=120, size=32),
        "import p",
    )
    do(workspace, "poses", PosesConfig(dataset="p"), "poses of p")
    tiny = {
        "bagan-gp": {"autoencoder_steps": 2, "steps": 1, "batch_size": 8},
        "ddpm": {"steps": 2, "batch_size": 4},
        "conditional-ddpm": {"steps": 2, "batch_size": 4},
        "smote": {},
    }
    tiny = {kind: changes for kind, changes in tiny.items() if kind in generator_specs()}
    for kind, changes in tiny.items():
        run = do(
            workspace, "train", TrainConfig.make(kind, "p", "quick", **changes), f"{kind} on p"
        )
        steps = 2 if "ddpm" in kind else None
        sample = SampleConfig(run=run, name=f"p-{kind}", count=60, steps=steps)
        do(workspace, "sample", sample, f"sample {kind}")
    compare = CompareConfig.from_preset(
        "quick",
        set="p",
        arms=("none", "bagan-gp"),
        schedules=("always",),
        classifier={"size": 32, "epochs": 2, "precision": "fp32"},
    )
    do(workspace, "compare", compare, "compare on p")
    return workspace


@pytest.fixture
def at_work(worked: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv(HOME_VARIABLE, str(worked.root))
    yield worked


@pytest.mark.parametrize("name", EMPTY)
def test_empty_page_says_what_to_do(name: str, workspace: Workspace) -> None:
    assert EMPTY[name] in text_of(opened(name))
    assert not workspace.root.exists(), "looking leaves nothing behind"


@pytest.mark.parametrize("name", FULL)
def test_page_shows_the_work_done(name: str, at_work: Workspace) -> None:
    app = opened(name)
    assert FULL[name] in text_of(app)
    assert not app.error


PARTS = {
    "Lineage": "Ancestors and descendants of this run",
    "Config": '"directory"',
    "Compare configs": "Field",
    "Result": '"answer"',
    "Name and note": "Stored with the run",
    "Remove": "Permanently deletes",
    "disk": "are no longer needed",
}


@pytest.mark.parametrize("part", PARTS)
def test_runs_page_draws_the_part_that_is_chosen_and_no_other(
    part: str, at_work: Workspace
) -> None:
    app = opened("runs")
    key, value = ("disk", True) if part == "disk" else ("details", part)
    app.session_state[key] = value
    app.run()
    assert not app.exception and not app.error
    drawn = [*text_of(app).splitlines(), *(j.value for j in app.json)]
    drawn += [t.help or "" for t in app.text_area]
    drawn += [column for table in app.dataframe for column in table.value.columns]
    found = {name for name, text in PARTS.items() if any(text in line for line in drawn)}
    assert found == {part}


def test_training_set_is_saved_with_its_skew(at_work: Workspace) -> None:
    app = opened("data")
    app.radio(key="skew").set_value("step").run()
    app.slider(key="rho").set_value(5).run()
    assert "p-step5" in [t.value for t in app.text_input]
    button = next(b for b in app.button if b.label == "Save training set")
    button.click().run()
    assert not app.exception and not app.error
    assert (at_work.sets / "p-step5.json").exists()
    (at_work.sets / "p-step5.json").unlink()


def test_bad_choice_is_refused_in_one_sentence(at_work: Workspace) -> None:
    app = opened("comparison")
    next(t for t in app.text_input if t.label == "Amounts").set_value("500").run()
    next(n for n in app.number_input if "at most" in n.label).set_value(0).run()
    assert "fewer images than the amount needs" in app.error[0].value
    assert not [b for b in app.button if b.label == "Compare"]


def test_a_limit_that_cannot_be_is_refused_and_the_page_goes_on(at_work: Workspace) -> None:
    app = opened("data")
    app.number_input(key="limit").set_value(1).run()
    assert not app.exception
    assert "limit=1 does not fit SetConfig" in app.error[0].value
    assert any(e.label == "Remove this dataset" for e in app.expander)


def test_a_size_that_does_not_fit_the_unet_is_refused_and_the_page_goes_on(
    at_work: Workspace,
) -> None:
    app = opened("generators")
    next(r for r in app.radio if r.label == "Generator").set_value("conditional-ddpm").run()
    next(r for r in app.radio if r.label == "Preset").set_value("strong").run()
    next(n for n in app.number_input if n.label == "size").set_value(72).run()
    assert not app.exception
    assert "size must be a multiple of 16 px" in app.error[0].value
    assert not [b for b in app.button if b.label == "Train"]
    assert any(s.value == "Trained on this set" for s in app.subheader)
