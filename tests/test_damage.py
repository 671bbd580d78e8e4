"""One damaged run, synthetic set, training set or dataset hides no other and stops no queue."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command
from hostile import BYTES, corruptions, replace_file
from sets import synthetic_set

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.timing import timing_config
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.removal import dataset_dependents, run_dependents
from rebalance_core.runs.directory import create_run
from rebalance_core.runs.executor import list_runs, needs_device, open_run, remove_run
from rebalance_core.runs.lineage import parents
from rebalance_core.runs.metrics import count_unreadable_lines, read_metrics
from rebalance_core.runs.run import MemoryRun
from rebalance_core.runs.upkeep import config_differences, run_bytes
from rebalance_core.synthesis.synthetic_set import (
    list_synthetic,
    newest_synthetic,
    open_all_synthetic,
    open_synthetic,
    remove_synthetic,
)
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import current_process
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set, open_sets
from rebalance_core.workspace import Workspace

TRAINING = {"preset": "quick", "seed": 0, "size": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "import": {"name": "pets", "source": "phantom"},
    "poses": {"dataset": "p"},
    "weights": {"network": "vgg16"},
    "train": {
        "generator": "ddpm",
        "set": "s",
        "training": TRAINING,
        "folder": None,
        "continues": None,
    },
    "sample": {"run": "x", "name": "s-ddpm"},
    "bring": {"name": "brought", "set": "s", "folder": "/nowhere"},
    "score": {"synthetic": "s-ddpm"},
    "filter": {"synthetic": "s-ddpm", "name": "filtered"},
    "interpolate": {"run": "x", "start": "glioma", "end": "notumor"},
    "denoise": {"run": "x", "label": "glioma"},
    "timing": {"channels": 1, "classes": 4, "classifier": {}},
    "compare": {"set": "s", "preset": "quick", "synthetic": {"ddpm": "s-ddpm"}},
    "classify": {"run": "x", "images": ["/nowhere.png"]},
    "study": {"dataset": "p"},
}
RECORD = ("kind", "name", "config", "created", "parents", "seed", "code")
STATE = (
    "status",
    "heartbeat",
    "pid",
    "pid_started",
    "host",
    "progress",
    "progress.fraction",
    "progress.stage",
    "progress.seconds_left",
    "memory",
    "memory.used",
    "memory.left",
    "memory.total",
    "memory.ended",
    "started",
    "finished",
    "reason",
)
LIVENESS = ("heartbeat", "pid", "pid_started", "host")
MEMORY = {"used": 1, "left": 2**30, "total": 2**33, "ended": 0}
PROGRESS = {"fraction": 0.5, "stage": "half", "seconds_left": 3.0}


def live_state(status: str) -> dict[str, Any]:
    """The state of a run whose process has exited."""
    return {
        "status": status,
        **current_process(),
        "pid": 2**22 + 1,
        "heartbeat": 1.0,
        "memory": MEMORY,
        "progress": PROGRESS,
        "started": 1.0,
        "finished": None,
        "reason": None,
    }


def made_run(workspace: Workspace, kind: str, status: str = "done") -> Path:
    """A run of a kind that is done, without results."""
    path = create_run(workspace, kind, CONFIGS[kind], name=f"a {kind}")
    write_json(path / "state.json", live_state(status) | {"finished": 2.0})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a dataset, training sets, synthetic sets and a run of each kind."""
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    import_dataset(
        workspace, ImportConfig(name="p", source="phantom", count=120, size=32), MemoryRun()
    )
    make_set(workspace, "s", SetConfig(dataset="p", skew="step:2"))
    synthetic_set(workspace, "ddpm", "s", count=3)
    for kind in CONFIGS:
        made_run(workspace, kind)
    return workspace


def use_runs(workspace: Workspace, victim: Path, healthy: set[str]) -> str | None:
    """Use all runs as lists, pages and the queue do; return why the victim is damaged, or None."""
    views = {view.id: view for view in list_runs(workspace)}
    assert healthy <= views.keys()
    assert victim.name in views
    assert not any(views[name].kind == "damaged" for name in healthy)
    assert parents(workspace, list(views.values())).keys() == views.keys()
    assert not any(map(needs_device, (v for v in views.values() if v.kind == "damaged")))
    view = open_run(workspace, victim.name)
    other = views[next(iter(healthy))]
    assert isinstance(config_differences(view, other), dict)
    assert run_bytes(view) > 0
    assert isinstance(f"{view.name}{view.note}{view.warning}{view.progress.stage}", str)
    assert view.progress.fraction <= 1
    run_dependents(workspace, victim.name)
    dataset_dependents(workspace, "p")
    return view.state.reason if view.kind == "damaged" else None


def corrupted_runs(victim: Path) -> Iterator[tuple[str, str, bytes]]:
    record, state = read_json(victim / "run.json"), live_state("running")
    for name in ("run.json", "state.json", "about.json"):
        for what, content in BYTES.items():
            yield name, what, content
    for field in (*RECORD, *(f"config.{name}" for name in record["config"])):
        for what, content in corruptions(record, field):
            yield "run.json", f"{field} {what}", content
    for field in STATE:
        live = ("running", "queued") if field in LIVENESS else ("running",)
        for status in (*live, "done"):
            for what, content in corruptions({**state, "status": status}, field):
                yield "state.json", f"{status} {field} {what}", content


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_damaged_run_hides_no_other_and_can_be_removed(made: Workspace, kind: str) -> None:
    healthy = {p.name for p in made.runs.glob("[!.]*")}
    kept = made_run(made, kind)
    whole = {p.name: p.read_bytes() for p in kept.glob("*.json")}
    victim = kept.with_name(kept.name + "v")
    damaged = 0
    cases = [c for c in corrupted_runs(kept) if kind == "train" or "config" in c[1]]
    for name, what, content in cases:
        shutil.rmtree(victim, ignore_errors=True)
        victim.mkdir()
        for file, data in whole.items():
            (victim / file).write_bytes(data)
        replace_file(victim / name, content)
        reason = use_runs(made, victim, healthy)
        if reason is not None:
            damaged += 1
            assert str(victim / name) in reason, what
            assert reason.endswith(".") and "\n" not in reason and len(reason) < 1000, what
        remove_run(made, victim.name)
        assert not victim.exists(), what
    assert damaged > len(cases) / 4
    shutil.rmtree(kept)


COMMANDS = (
    ("runs", "list"),
    ("runs", "list", "--json"),
    ("runs", "show", "{}"),
    ("runs", "log", "{}"),
    ("runs", "show", "{}", "--json"),
    ("runs", "diff", "{}", "{other}"),
    ("runs", "clean", "--yes"),
    ("datasets", "list"),
    ("sets", "list"),
    ("synthetic", "list"),
    ("runs", "remove", "{}", "--yes", "--with-dependents"),
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", b'{"status": "running", "heartbeat": null}'),
        ("state.json", b'{"status": "queued", "heartbeat": 1e12}'),
        ("state.json", BYTES["deep"]),
        ("run.json", BYTES["huge integer"]),
        ("about.json", BYTES["deep inside"]),
        ("metrics.jsonl", b"\n".join(BYTES.values()) + b'\n{"step": [], "time": 1}\n'),
        ("result/synthetic.json", b"5"),
    ],
)
def test_every_command_works_beside_a_damaged_run_and_on_it(
    made: Workspace, name: str, content: bytes
) -> None:
    healthy = {p.name for p in made.runs.glob("[!.]*")}
    victim = made_run(made, "compare")
    (victim / name).parent.mkdir(exist_ok=True)
    replace_file(victim / name, content)
    other = sorted(healthy)[0]
    for words in COMMANDS:
        done = command(made.root, *(w.format(victim.name, other=other) for w in words))
        assert done.returncode == 0, (words, done.stderr)
        if words == ("runs", "list"):
            assert all(run in done.stdout for run in (*healthy, victim.name))
    assert not victim.exists()
    assert {v.id for v in list_runs(made)} == healthy


@pytest.mark.usefixtures("smote")
def test_a_device_job_takes_its_turn_beside_a_damaged_run(made: Workspace) -> None:
    victim = made_run(made, "train")
    replace_file(victim / "state.json", b'{"status": "running", "heartbeat": null}')
    done = command(made.root, "train", "smote", "s", "--json")
    assert done.returncode == 0, done.stderr
    remove_run(made, victim.name)
    remove_run(made, json.loads(done.stdout)["run"])


def test_invalid_metric_lines_are_skipped_and_counted(made: Workspace) -> None:
    path = made_run(made, "train")
    good = b'{"step": 1, "loss": 0.5, "time": 1.0}'
    bad = [c for c in BYTES.values() if c]
    for field in ("step", "time", "loss"):
        bad += [c for _, c in corruptions({"step": 2, "loss": 0.25, "time": 2.0}, field)]
    replace_file(path / "metrics.jsonl", b"\n".join([good, *bad, good]) + b"\n")
    lines = read_metrics(path)
    assert lines[0] == lines[-1] == json.loads(good)
    assert count_unreadable_lines(path) == len(bad) + 2 - len(lines) > len(bad) / 2
    assert all(isinstance(line["step"], int) for line in lines)
    shown = command(made.root, "runs", "show", path.name, "--json")
    assert json.loads(shown.stdout)["unreadable_lines"] == count_unreadable_lines(path)
    (path / "metrics.jsonl").unlink()
    (path / "metrics.jsonl").mkdir()
    assert read_metrics(path) == []
    remove_run(made, path.name)


STEP = {
    "name": "copies",
    "value": True,
    "training_set": None,
    "removed": {"glioma": ["a.png"]},
    "from": {"name": "x", "provenance": "y"},
}
PROVENANCE = (
    "generator",
    "training_set",
    "training_set.name",
    "training_set.config",
    "training_set.config.dataset",
    "training_set.classes",
    "training_set.counts",
    "training_set.train",
    "training_set.fingerprint",
    "counts",
    "size",
    "seed",
    "sampler",
    "training",
    "filters",
    "filters.0",
    "filters.0.name",
    "filters.0.from",
    "filters.0.from.name",
    "filters.0.removed",
    "filters.0.training_set",
    "run",
    "sample_run",
    "bring_run",
    "earlier_runs",
    "believed",
    "source",
    "created",
)


def corrupted_provenances(path: Path) -> Iterator[tuple[str, bytes]]:
    yield from BYTES.items()
    value = read_json(path) | {"filters": [STEP], "earlier_runs": ["x"]}
    for field in PROVENANCE:
        for what, content in corruptions(value, field):
            yield f"{field} {what}", content


def test_a_damaged_synthetic_set_hides_no_other_and_can_be_removed(
    made: Workspace, tmp_path: Path
) -> None:
    (chosen,) = open_sets(made)[0]
    train = list_runs(made, "train")[0]
    healthy = open_synthetic(made, "s-ddpm").path
    victim = made.synthetic / "victim"
    damaged = 0
    cases = list(corrupted_provenances(healthy / "provenance.json"))
    for what, content in cases:
        shutil.copytree(healthy, victim)
        replace_file(victim / "provenance.json", content)
        found, sentences = open_all_synthetic(made)
        names = {each.name for each in found}
        assert "s-ddpm" in names and names | sentences.keys() == {"s-ddpm", "victim"}, what
        for each in found:
            assert {*each.summary, each.origin, *map(str, each.exposures())}, what
        if "victim" in sentences:
            damaged += 1
            assert str(victim / "provenance.json") in sentences["victim"], what
            assert sentences["victim"].endswith(".") and "\n" not in sentences["victim"], what
            assert newest_synthetic(made, chosen, "ddpm").name == "s-ddpm", what
        dataset_dependents(made, "p")
        run_dependents(made, train.id)
        remove_synthetic(made, "victim")
        assert list_synthetic(made) == ["s-ddpm"], what
    assert damaged > len(cases) / 2


@pytest.mark.parametrize("content", [b"{}", BYTES["deep"], b'{"filters": 5}'])
def test_commands_name_the_damaged_synthetic_set_and_take_the_other(
    made: Workspace, tmp_path: Path, content: bytes
) -> None:
    victim = shutil.copytree(made.synthetic / "s-ddpm", made.synthetic / "victim")
    replace_file(victim / "provenance.json", content)
    sentence = f"{victim / 'provenance.json'} is "
    timing = timing_config(made, CompareConfig.from_preset("quick", set="s")).model_dump(
        mode="json"
    )
    for rates in ({"train": 0.5, "evaluate": 0.25}, {"train": "x"}, [1]):  # the newest first
        timed = create_run(made, "timing", timing, name="timed")
        write_json(timed / "result" / "result.json", rates)
        write_json(timed / "state.json", live_state("done"))
    listed = command(made.root, "synthetic", "list", "--json")
    told = json.loads(listed.stdout)["synthetic"]
    assert told["s-ddpm"]["counts"] == open_synthetic(made, "s-ddpm").counts
    assert told["victim"].startswith(sentence)
    for words in (
        ("rebalance", "s", "ddpm", str(tmp_path / "out"), "--amount", "2", "--json"),
        ("compare", "s", "--arms", "none,ddpm", "--amount", "2", "--estimate", "--json"),
    ):
        done = command(made.root, *words)
        assert done.returncode == 0, done.stderr
        assert f"Skipped: {sentence}" in done.stderr
        assert len(json.loads(done.stdout)) > 0
    for words in (
        ("synthetic", "show", "victim"),
        ("rebalance", "s", "victim", tmp_path / "x"),
        ("score", "victim"),
        ("synthetic", "export", "victim", tmp_path / "y"),
        ("quiz", "tally", "victim"),
    ):
        refused = command(made.root, *words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(sentence)
    assert dataset_dependents(made, "p").summary.endswith("; perhaps synthetic set victim, damaged")
    gone = command(made.root, "synthetic", "remove", "victim", "--yes", "--json")
    assert json.loads(gone.stdout) == {"removed": "victim"}
    assert list_synthetic(made) == ["s-ddpm"]


SET = (
    "name",
    "config",
    "config.dataset",
    "config.split",
    "config.skew",
    "config.poses",
    "config.limit",
    "config.seed",
    "fingerprint",
    "classes",
    "counts",
    "counts.glioma",
    "train",
    "validation",
    "test",
    "dropped",
    "another",
)


def test_a_damaged_training_set_hides_no_other(made: Workspace) -> None:
    path = made.sets / "a.json"
    value = read_json(made.sets / "s.json") | {"name": "a"}
    cases = [*BYTES.items()]
    for field in SET:
        cases += [(f"{field} {what}", content) for what, content in corruptions(value, field)]
    damaged = 0
    views = list_runs(made)
    for what, content in cases:
        replace_file(path, content)
        found, sentences = open_sets(made)
        assert "s" in {each.name for each in found}, what
        assert len(found) + len(sentences) == 2, what
        for each in found:
            assert each.ratio >= 1 and each.minority is not None, what
        if sentences:
            damaged += 1
            assert str(path) in sentences["a"] and sentences["a"].endswith("."), what
            assert "\n" not in sentences["a"], what
        dataset_dependents(made, "p")
        parents(made, views)
    assert damaged > len(cases) / 2
    listed = json.loads(command(made.root, "sets", "list", "--json").stdout)["sets"]
    assert listed["s"] == found[-1].counts
    path.unlink()


MANIFEST = (
    "format",
    "classes",
    "channels",
    "fingerprint",
    "catalogue",
    "source",
    "unreadable",
    "created",
)


DAMAGED_MANIFEST = (
    "Dataset a is damaged (manifest.json cannot be read); remove it and import it again."
)


def test_a_damaged_manifest_hides_no_other_dataset(made: Workspace) -> None:
    victim = made.datasets / "a"
    shutil.copytree(made.datasets / "p", victim)
    value = read_json(victim / "manifest.json")
    cases = [*BYTES.items()]
    for field in MANIFEST:
        cases += [(f"{field} {what}", content) for what, content in corruptions(value, field)]
    damaged = 0
    for what, content in cases:
        replace_file(victim / "manifest.json", content)
        try:
            assert open_dataset(made, "a").counts() == open_dataset(made, "p").counts(), what
        except UserError as error:
            damaged += 1
            assert str(error).startswith("Dataset a ") and str(error).endswith("."), what
    assert damaged > len(cases) / 2
    replace_file(victim / "manifest.json", BYTES["deep"])
    listed = json.loads(command(made.root, "datasets", "list", "--json").stdout)["datasets"]
    assert listed["p"] == open_dataset(made, "p").counts()
    assert listed["a"] == DAMAGED_MANIFEST
    gone = command(made.root, "datasets", "remove", "a", "--yes", "--json")
    assert json.loads(gone.stdout)["removed"] == "a"
    assert list_datasets(made) == ["p"]


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/inside", "/proc/self", "/proc/x"])
@pytest.mark.parametrize(
    "words",
    [
        ("runs", "list"),
        ("datasets", "add", "p", "phantom"),
        ("sets", "list"),
        ("runs", "clean", "--yes"),
        ("study", "p"),
    ],
)
def test_a_home_that_is_not_writable_is_one_sentence(home: str, words: tuple[str, ...]) -> None:
    done = command(Path(home), *words)
    assert (done.returncode, done.stdout) == (2, "")
    root = Path(home).resolve()
    assert done.stderr == f"{root} cannot be written; set REBALANCE_HOME to a folder that can.\n"
