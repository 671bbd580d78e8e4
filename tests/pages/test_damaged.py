"""Every page draws for everybody in a workspace full of damaged records, and names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hostile import BYTES, VALUES, corruptions, replace_file
from opening import TIMEOUT, opened
from sets import synthetic_set
from streamlit.testing.v1 import AppTest

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.diffusion.config import DdpmConfig
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.run import MemoryRun
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import HOME_VARIABLE, Workspace

PAGES = ("home", "data", "poses", "generators", "samples", "comparison", "runs", "settings")
TRAINING = DdpmConfig.from_preset("quick").model_dump(mode="json")
CONFIGS: dict[str, dict[str, Any]] = {
    "import": {"name": "p", "source": "phantom"},
    "poses": {"dataset": "p"},
    "weights": {"network": "vgg16"},
    "train": {"generator": "ddpm", "set": "s", "training": TRAINING, "folder": None},
    "sample": {"run": "x", "name": "s-ddpm"},
    "bring": {"name": "brought", "set": "s"},
    "score": {"synthetic": "s-ddpm"},
    "filter": {"synthetic": "s-ddpm", "name": "filtered"},
    "compare": {"set": "s", "preset": "quick", "synthetic": {"ddpm": "s-ddpm"}},
    "classify": {"run": "x", "images": ["/nowhere.png"]},
    "timing": {"channels": 1, "classes": 4, "classifier": {}},
    "study": {"dataset": "p"},
}


def texts(app: AppTest) -> str:
    elements = [*app.markdown, *app.caption, *app.info, *app.warning, *app.success, *app.error]
    return "\n".join(str(e.value) for e in elements)


def done_run(workspace: Workspace, kind: str, config: Any, name: str = "") -> Path:
    path = create_run(workspace, kind, config, name=name or f"a {kind}")
    write_json(path / "state.json", {**read_json(path / "state.json"), "status": "done"})
    return path


def trained(workspace: Workspace, config: dict[str, Any], name: str) -> Path:
    """A training that is done, as far as pages see, with its curves."""
    path = done_run(workspace, "train", config, name)
    shutil.copyfile(workspace.sets / "s.json", path / "set.json")
    lines = [{"step": k, "loss": 1 / (k + 1), "time": float(k)} for k in range(6)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which all is well: a dataset, a set, a synthetic set, a training."""
    workspace = Workspace(tmp_path_factory.mktemp("sound") / "home")
    import_dataset(
        workspace, ImportConfig(name="p", source="phantom", count=120, size=32), MemoryRun()
    )
    make_set(workspace, "s", SetConfig(dataset="p", skew="step:2"))
    synthetic_set(workspace, "ddpm", "s", count=4)
    trained(workspace, CONFIGS["train"], "the sound training")
    return workspace


@pytest.fixture
def home(sound: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = Workspace(Path(shutil.copytree(sound.root, tmp_path / "home")))
    monkeypatch.setenv(HOME_VARIABLE, str(workspace.root))
    return workspace


def drawn(page: str, **query: str) -> AppTest:
    """A page of an address; nothing may escape it."""
    app = opened("home") if page == "home" else opened("settings")
    for key, value in query.items():
        app.query_params[key] = value
    if page != "home":
        app.switch_page(f"pages/{page}.py").run(timeout=TIMEOUT)
    assert not app.exception, [e.message for e in app.exception]
    return app


def options(app: AppTest, label: str) -> list[str]:
    return next(list(box.options) for box in app.selectbox if box.label == label)


def spoil_runs(workspace: Workspace) -> None:
    """Runs of each kind with each hostile value in their config, and in their state."""
    for kind, config in CONFIGS.items():
        base = done_run(workspace, kind, {})
        record = read_json(base / "run.json") | {"config": config}
        cases = [c for field in config for _, c in corruptions(record, f"config.{field}")]
        for number, content in enumerate(cases):
            path = base.with_name(f"{base.name}-{number}")
            path.mkdir()
            (path / "run.json").write_bytes(content)
            shutil.copyfile(base / "state.json", path / "state.json")
    for content in (
        *BYTES.values(),
        b'{"status": "running", "heartbeat": null}',
        b'{"status": "running", "heartbeat": 0, "progress": {"fraction": NaN}}',
    ):
        replace_file(done_run(workspace, "train", CONFIGS["train"]) / "state.json", content)


def test_every_page_draws_beside_damaged_runs(home: Workspace) -> None:
    spoil_runs(home)
    for page in PAGES:
        app = drawn(page)
        if page == "generators":
            assert any("the sound training" in name for name in options(app, "Run"))
        if page == "runs":
            assert any("the sound training" in name for name in options(app, "Run"))
            assert len(options(app, "Run")) > 500


ODD = {
    "nothing but the set": {"set": "s"},
    "an unknown generator": {"set": "s", "generator": "x", "training": {}},
    "no training": {"set": "s", "generator": "bagan-gp"},
    "a wrong training": {"set": "s", "generator": "ddpm", "training": {"seed": [], "preset": {}}},
    "a wrong size": {"set": "s", "generator": "ddpm", "training": {**TRAINING, "size": "x"}},
}


@pytest.mark.parametrize("what", ODD)
def test_pages_draw_a_training_whose_config_is_odd(home: Workspace, what: str) -> None:
    path = trained(home, ODD[what], what)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "000001.pt").touch()
    for page, query in (("generators", path.name), ("samples", path.name), ("runs", path.name)):
        drawn(page, run=query)
    shutil.copyfile(path / "run.json", path / "set.json")
    for page in ("generators", "samples", "runs"):
        drawn(page, run=path.name)


@pytest.mark.parametrize(
    "details", ["Log", "Lineage", "Config", "Compare configs", "Result", "Name and note", "Remove"]
)
def test_the_runs_page_shows_and_removes_a_damaged_run(home: Workspace, details: str) -> None:
    path = trained(home, CONFIGS["train"], "the damaged one")
    replace_file(path / "state.json", BYTES["deep"])
    app = drawn("runs", run=path.name)
    assert any("state.json is damaged" in e.value for e in app.error)
    app.segmented_control(key="details").set_value(details).run()
    assert not app.exception
    if details == "Remove":
        app.checkbox(key=f"confirm {path.name}").check().run()
        next(b for b in app.button if b.label == "Remove").click().run()
        assert not app.exception
        assert not path.exists()


def test_curves_are_drawn_of_the_lines_that_are_some(home: Workspace) -> None:
    training = trained(home, CONFIGS["train"], "odd lines")
    compare = done_run(home, "compare", CONFIGS["compare"], "odd cells")
    line = {
        "step": 1,
        "time": 1.0,
        "cell": "c",
        "epoch": 1,
        "arm": "none",
        "amount": None,
        "schedule": "always",
        "seed": 0,
        "validation_macro_f1": 0.5,
        "loss": 0.5,
    }
    content = b"\n".join([*BYTES.values(), *(c for f in line for _, c in corruptions(line, f))])
    for path in (training, compare):
        replace_file(path / "metrics.jsonl", content + b"\n")
    drawn("generators", run=training.name)
    drawn("runs", run=training.name)
    drawn("comparison", run=compare.name)


PROVENANCE = (
    "generator",
    "training_set",
    "training_set.classes",
    "counts",
    "filters",
    "size",
    "created",
    "seed",
)


def test_pages_name_damaged_synthetic_sets_and_take_the_others(home: Workspace) -> None:
    whole = read_json(home.synthetic / "s-ddpm" / "provenance.json")
    cases = [*BYTES.items()]
    for field in PROVENANCE:
        for what in ("null", "5", "x", "list", "missing"):
            cases += [(f"{field} {w}", c) for w, c in corruptions(whole, field) if w == what]
    for number, (_, content) in enumerate(cases):
        folder = home.synthetic / f"odd {number}"
        shutil.copytree(home.synthetic / "s-ddpm", folder)
        replace_file(folder / "provenance.json", content)
    for page in PAGES:
        drawn(page)
    app = drawn("samples", synthetic="odd 0")
    assert any("odd 0/provenance.json is " in e.value for e in app.error)
    assert set(options(app, "Synthetic set")) == set(list_synthetic(home))
    app.checkbox[-1].check().run()
    next(b for b in app.button if b.label == "Remove").click().run()
    assert not app.exception
    assert "odd 0" not in list_synthetic(home)
    for tab in ("Beside originals", "Side by side", "Curate", "Filters", "Export"):
        app = drawn("samples", synthetic="s-ddpm")
        app.session_state["views"] = tab
        app.run()
        assert not app.exception, tab
    done_run(home, "compare", CONFIGS["compare"])
    app = drawn("comparison", set="s")
    assert any("odd 1/provenance.json is " in w.value for w in app.warning)
    assert "Export the rebalanced training set" in [s.value for s in app.subheader]
    arms = next(box.options for box in app.multiselect if box.label == "Arms")
    assert "ddpm" in arms and "s-ddpm" in arms


def test_pages_draw_beside_damaged_training_sets_and_datasets(home: Workspace) -> None:
    whole = read_json(home.sets / "s.json")
    for number, content in enumerate(
        [*BYTES.values(), *(c for _, c in corruptions(whole, "counts"))]
    ):
        replace_file(home.sets / f"z{number}.json", content)
    for number, content in enumerate(BYTES.values()):
        shutil.copytree(home.datasets / "p", home.datasets / f"q{number}")
        replace_file(home.datasets / f"q{number}" / "manifest.json", content)
    for page in PAGES:
        app = drawn(page)
        if page in ("generators", "comparison"):
            assert {"s", "z0"} <= set(options(app, "Training set"))
        if page == "data":
            assert any("z0.json is damaged" in w.value for w in app.warning)
    for page in ("data", "poses"):
        app = drawn(page, dataset="q0")
        assert any("Dataset q0 is damaged" in e.value for e in app.error)
    for page in ("generators", "comparison"):
        app = drawn(page, set="z0")
        assert any("z0.json is damaged" in e.value for e in app.error)


def test_every_hostile_value_is_tried() -> None:
    assert len(VALUES) == len(list(corruptions({"a": 1}, "a")))


@pytest.mark.parametrize("folder", ["/dev/null", "/proc/self"])
def test_a_home_that_can_hold_nothing_is_one_sentence(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, folder)
    app = opened("home")
    told = f"{Path(folder).resolve()} cannot be written; set REBALANCE_HOME to a folder that can."
    assert [e.value for e in app.error] == [told]
