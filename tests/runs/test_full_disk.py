"""A disk that is really full, at whichever write: a sentence, what was there stays, and it goes on.

The disk is a small tmpfs; without the right to mount one, these tests are skipped aloud.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from products import make_room, numbers, product

sys.path.append(str(Path(__file__).parents[1] / "poses"))
from starting import submit
from test_weights import Site

from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.rebalanced import zip_rebalanced
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.extractors import DOWNLOADS, Download
from rebalance_core.poses.weights import WeightsConfig, has_weights
from rebalance_core.runs.directory import RunDirectory, create_run, list_checkpoints
from rebalance_core.runs.executor import describe, list_runs, resume, view_run
from rebalance_core.runs.run import CHECKPOINT_VARIABLE, MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.interpolation import InterpolateConfig
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.system import files
from rebalance_core.system.files import disk_full_message, read_json, write_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import list_sets, make_set
from rebalance_core.workspace import HOME_VARIABLE, Workspace

ROOT = Path(__file__).resolve().parents[2]
KB, MB = 1024, 1024**2


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr if done else 'no mount command'}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def home(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace on that disk, with a phantom; checkpoints at every step."""
    monkeypatch.setenv(HOME_VARIABLE, str(disk / "home"))
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "0")
    workspace = Workspace.from_environment()
    source = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    import_dataset(workspace, source, MemoryRun())
    yield workspace
    for path in (disk / "home", disk / "ballast"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def leave(disk: Path, room: int) -> None:
    """Fill the disk up to `room` bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    size = shutil.disk_usage(disk).free - room
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def attempt(workspace: Workspace, path: Path) -> None:
    """What the run's process does; the disk may be too full even for its last word."""
    try:
        execute(workspace, RunDirectory(path))
    except (UserError, OSError, RuntimeError):
        return
    except Exception as error:
        assert "No space left" in str(error), error


def fails_and_goes_on(
    disk: Path, workspace: Workspace, kind: str, config: Config, rooms: list[int]
) -> list[int]:
    """With ever more room: a sentence until it suffices, then what a calm run makes; the rooms
    that were too small."""
    values = config.model_dump(mode="json")
    calm = create_run(workspace, kind, values, name="calm")
    execute(workspace, RunDirectory(calm))
    made = product(workspace, view_run(calm))
    make_room(workspace, view_run(calm))
    path = create_run(workspace, kind, values, name="pressed")
    short = []
    for room in rooms:
        leave(disk, room)
        before = last_checkpoint(path)
        attempt(workspace, path)
        state = view_run(path).state
        if state.status == "done":
            break
        short.append(room)
        if room >= 32 * KB:  # else it could not even say so
            assert state.status == "failed"
            needed = "The import needs 0 MB, but "  # an import looks before it begins
            assert state.reason == disk_full_message(workspace.root) or state.reason.startswith(
                needed
            )
            assert state.reason.endswith("set REBALANCE_HOME to a folder on a larger disk.")
        assert last_checkpoint(path) >= before, "what was kept stays whole"
        assert [p for p in path.rglob(".*") if p.name != ".work.lock"] == []
    (disk / "ballast").unlink()
    if view_run(path).status != "done":
        execute(workspace, RunDirectory(path))
    view = view_run(path)
    assert view.status == "done"
    assert product(workspace, view) == made
    assert numbers(path) == numbers(calm)
    return short


def last_checkpoint(path: Path) -> int:
    """The number of the last one, which can be read; 0 without one."""
    import torch

    there = list_checkpoints(path / "checkpoints")
    if there:
        assert torch.load(there[-1], weights_only=True)["state"]
    return int(there[-1].stem) if there else 0


DDPM = {"steps": 4, "batch_size": 4, "classes": ("glioma",)}


def test_a_training_fails_with_a_sentence_and_goes_on(disk: Path, home: Workspace) -> None:
    config = TrainConfig.make("ddpm", "phantom", "quick", **DDPM)
    rooms = [0, 32 * KB, 2 * MB, 12 * MB]
    assert len(fails_and_goes_on(disk, home, "train", config, rooms)) >= 3


def test_an_import_and_its_poses_fail_with_a_sentence_and_go_on(
    disk: Path, home: Workspace
) -> None:
    source = ImportConfig(name="second", source="phantom", count=60, size=32)
    assert fails_and_goes_on(disk, home, "import", source, [0, 48 * KB, 64 * KB])
    assert fails_and_goes_on(disk, home, "poses", PosesConfig(dataset="phantom"), [0, 48 * KB])


def test_a_comparison_fails_with_a_sentence_and_goes_on(disk: Path, home: Workspace) -> None:
    classifier = {"size": 32, "epochs": 2, "precision": "fp32"}
    config = CompareConfig.from_preset(
        "quick",
        set="phantom",
        arms=("none",),
        schedules=("always",),
        classifier=classifier,
        reuse=False,
    )
    assert fails_and_goes_on(disk, home, "compare", config, [40 * KB, 60 * MB]) == [
        40 * KB,
        60 * MB,
    ]


def train_one(home: Workspace, generator: str, **training: Any) -> str:
    """Train a generator and return the run's id."""
    config = TrainConfig.make(generator, "phantom", "quick", **training)
    path = create_run(home, "train", config.model_dump(mode="json"), name="train")
    execute(home, RunDirectory(path))
    return path.name


def test_sampling_fails_with_a_sentence_and_goes_on(disk: Path, home: Workspace) -> None:
    run = train_one(home, "ddpm", **{**DDPM, "steps": 1})
    config = SampleConfig(run=run, name="made", count=12)
    assert fails_and_goes_on(disk, home, "sample", config, [0, 40 * KB, 64 * KB])


def test_frames_between_classes_fail_with_a_sentence_and_go_on(disk: Path, home: Workspace) -> None:
    run = train_one(home, "bagan-gp", autoencoder_steps=1, steps=1, batch_size=8)
    config = InterpolateConfig(run=run, start="glioma", end="notumor", frames=9)
    assert fails_and_goes_on(disk, home, "interpolate", config, [0, 40 * KB, 64 * KB])


@pytest.fixture
def resnet18_file(tmp_path: Path) -> Path:
    """47 MB of weights, on another disk."""
    import torch
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def test_weights_fail_with_a_sentence_and_go_on(
    disk: Path, home: Workspace, resnet18_file: Path
) -> None:
    config = WeightsConfig(network="resnet18", file=str(resnet18_file))
    rooms = [0, 64 * KB, 20 * MB]
    assert fails_and_goes_on(disk, home, "weights", config, rooms) == rooms


def test_a_download_of_weights_fails_with_a_sentence_and_goes_on_where_it_was(
    disk: Path, home: Workspace, resnet18_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(resnet18_file.read_bytes())
    digest = hashlib.sha256(site.data).hexdigest()
    monkeypatch.setitem(DOWNLOADS, "resnet18", Download(site.url, digest, 47))
    try:
        config = WeightsConfig(network="resnet18").model_dump(mode="json")
        path = create_run(home, "weights", config, name="weights")
        for room in (20 * MB, 60 * MB):  # in the middle of the download; of what is kept of it
            leave(disk, room)
            attempt(home, path)
            state = view_run(path).state
            assert (state.status, state.reason) == ("failed", disk_full_message(home.root))
            assert not has_weights(home, "resnet18")
        (disk / "ballast").unlink()
        execute(home, RunDirectory(path))
    finally:
        site.server.shutdown()
        site.server.server_close()
    assert view_run(path).result["sha256"] == digest
    assert site.ranges[0] is None, "the second goes on where the first ended, the third has it all"
    assert [int(str(asked).strip("bytes=-")) >= 19 * MB for asked in site.ranges[1:]] == [True] * 2


WRITES: dict[str, Callable[[RunDirectory], object]] = {
    "metrics": lambda run: run.log(2, loss=0.5),
    "preview": lambda run: run.preview(2, np.zeros((64, 64), np.uint8)),
    "checkpoint": lambda run: run.checkpoint({"step": 2}, ("loss", 0.5)),
    "state": lambda run: run.write_state("running"),
    "result": lambda run: write_json(run.result / "result.json", {"made": 1}),
}


@pytest.mark.parametrize("name", WRITES)
def test_each_write_of_a_run_leaves_what_was_there_and_works_again(
    disk: Path, home: Workspace, name: str
) -> None:
    run = RunDirectory(create_run(home, "train", {}, name="run"))
    run.log(1, loss=1.0)
    run.preview(1, np.ones((64, 64), np.uint8))
    run.checkpoint({"step": 1}, ("loss", 1.0))
    write_json(run.result / "result.json", {"made": 0})
    # Metrics that end with their block: the next line begins another, for which there is no room.
    size = (run.path / "metrics.jsonl").stat().st_size
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 1, "note": "x" * (4096 - size - 24)}) + "\n")
    assert (run.path / "metrics.jsonl").stat().st_size % 4096 == 0
    before = everything(run.path)
    leave(disk, 0)
    # As the process of a job says what comes up.
    with pytest.raises(UserError) as excinfo, files.translate_disk_full(home.root):
        WRITES[name](run)
    assert str(excinfo.value) == disk_full_message(home.root)
    assert everything(run.path) == before
    (disk / "ballast").unlink()
    WRITES[name](run)
    assert everything(run.path) != before
    assert not [p for p in run.path.rglob(".*") if not p.name.endswith(".lock")]


def test_what_is_asked_for_on_a_full_disk_is_refused_and_leaves_nothing(
    disk: Path, home: Workspace
) -> None:
    """The other writes: a new run, a resume, a name, a training set, a zip; and a page reads on."""
    path = create_run(home, "compare", {"set": "nothing"}, name="old")
    state = {**read_json(path / "state.json"), "status": "failed", "reason": "It was so."}
    (path / "state.json").write_text(json.dumps(state))
    make_set(home, "kept", SetConfig(dataset="phantom"))
    open_dataset(home, "phantom").array(32)
    before = everything(home.root)
    leave(disk, 0)
    asked: list[Callable[[], Any]] = [
        lambda: submit(home, "compare", {"set": "phantom"}, name="new"),
        lambda: resume(home, path.name),
        lambda: describe(home, path.name, note="a note"),
        lambda: make_set(home, "more", SetConfig(dataset="phantom", skew="step:2")),
        lambda: zip_rebalanced(home, "phantom", "none"),
    ]
    for ask in asked:
        # As pages and the command line ask, which turn what comes up into the sentence.
        with pytest.raises(UserError) as excinfo, files.translate_disk_full(home.root):
            ask()
        assert str(excinfo.value) == disk_full_message(home.root)
    assert [(v.id, v.status) for v in list_runs(home)] == [(path.name, "failed")]
    command = [sys.executable, "-m", "rebalance_core", "runs", "resume", path.name, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        f"{disk_full_message(home.root)}\n",
    )
    (disk / "ballast").unlink()
    assert everything(home.root) == before
    assert list_sets(home) == ["kept"]


def everything(root: Path) -> dict[str, bytes]:
    """Every file but locks, which hold nothing."""
    files = (p for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_a_job_whose_disk_is_full_at_its_start_says_so(disk: Path, home: Workspace) -> None:
    """Through the real process, which cannot write a word."""
    path = create_run(home, "compare", {"set": "phantom"}, name="compare")
    leave(disk, 0)
    worker = [sys.executable, "-m", "rebalance_core.runs.worker", str(path)]
    subprocess.run(worker, cwd=ROOT, capture_output=True, timeout=120)
    old = read_json(path / "state.json")["heartbeat"] - 60  # nobody waits for it any more
    (path / "state.json").write_text(
        json.dumps({"status": "queued", "pid": None, "heartbeat": old, "progress": None})
    )
    view = view_run(path)
    assert (view.status, view.state.reason) == ("interrupted", disk_full_message(home.root))


def test_the_dataset_is_as_before(disk: Path, home: Workspace) -> None:
    """A page that decodes for the first time on a full disk leaves nothing half-made."""
    dataset: Dataset = open_dataset(home, "phantom")
    before = everything(home.root)
    leave(disk, 16 * KB)
    with pytest.raises(UserError) as excinfo:
        dataset.array(48)
    assert str(excinfo.value) == disk_full_message(home.root)
    assert everything(home.root) == before
