"""Kill -9 at random moments, resume, and the numbers are those of a run that was left alone.

In `make test` six kills; in `make chaos` sixty over all kinds of runs, and thousands of a process
that only counts. Every moment comes from a seed.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from counting import count, expected, take_turn
from products import make_room, numbers, product

from rebalance_core.comparison.configs import CompareConfig
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.files import read_json
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.clustering import PosesConfig
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.runs import worker
from rebalance_core.runs.executor import RunView, list_runs, resume, submit, view_run
from rebalance_core.runs.run import (
    CHECKPOINT_VARIABLE,
    MemoryRun,
    create_run,
    numbered,
    read_metrics,
)
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.whole_path import StudyConfig
from rebalance_core.workspace import Workspace

PATIENCE = 300.0  # seconds for a tiny run under load
TINY_BAGAN = {"autoencoder_steps": 10, "steps": 5, "batch_size": 8}
TINY_DDPM = {"steps": 10, "batch_size": 4, "classes": ("glioma", "pituitary")}


def until(done: Callable[[], Any], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def ended(view: RunView) -> RunView:
    until(lambda: not view_run(view.path).live, lambda: view_run(view.path).state)
    return view_run(view.path)


def last_step(path: Path) -> int | None:
    """The step that the last checkpoint holds, as its kind of run counts; None without one."""
    import torch  # not above: processes that only count are forked from this one

    there = numbered(path / "checkpoints")
    if not there:
        return None
    state = torch.load(there[-1], weights_only=True)["state"]
    if "cells" in state:
        epochs = int(read_json(path / "run.json")["config"]["classifier"]["epochs"])
        return int(state["cells"]) * epochs + len(state["curve"])
    return int(state["step"])


def kill(view: RunView, moment: float, learning_since: float | None) -> RunView:
    """Kill the run's processes `moment` seconds after one of them is there, or after it has said
    from which step it goes on; unless it ends."""
    path = view.path
    until(lambda: view_run(path).state.get("pid") or not view_run(path).live, lambda: path)
    if learning_since is not None:
        until(
            lambda: _said(path, learning_since) or not view_run(path).live,
            lambda: (path / "log.txt").read_text(),
        )
    deadline = time.monotonic() + moment
    while (view := view_run(path)).live and time.monotonic() < deadline:
        time.sleep(0.005)
    if not view.live:
        return view
    os.killpg(view.state["pid"], signal.SIGKILL)
    view = ended(view)
    assert (view.status, view.state["reason"]) == ("interrupted", "Its process is gone.")
    return view


def _said(path: Path, since: float) -> list[int]:
    """The steps from which the run said that it goes on."""
    lines = [m for m in read_metrics(path) if m.get("event") == "start"]
    return [m["step"] for m in lines if m["time"] >= since - 0.001]


def under_fire(
    workspace: Workspace,
    kind: str,
    config: Config,
    moments: Sequence[float],
    *,
    learning: bool = False,
) -> tuple[RunView, int]:
    """Run a job to its end, killed at each of `moments` after it (re)started, or began to learn,
    and resumed each time from just the step that its last checkpoint holds; how often it could
    be killed."""
    since = time.time()
    view = submit(workspace, kind, config.model_dump(mode="json"), name=f"{kind} under fire")
    kills, step = 0, None
    for moment in (*moments, float("inf")):
        view = kill(view, moment, since if learning else None)
        assert _said(view.path, since) in ([], [step or 0]), (view.id, step)
        if view.status != "interrupted":
            break
        kills += 1
        assert [v.id for v in list_runs(workspace)].count(view.id) == 1
        step, since = last_step(view.path), time.time()
        view = resume(workspace, view.id)
    assert view.status == "done", (view.state, (view.path / "log.txt").read_text())
    return view, kills


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny runs are over before a checkpoint would be due."""
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "0")


def forked(work: Callable[[], object]) -> int:
    """The pid of a process that does `work` and ends; torch was never used in it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("every_step")
def test_thousands_of_kills_of_a_process_that_only_counts(workspace: Workspace, seed: int) -> None:
    kills = count_under_fire(workspace, Random(seed), least=700, steps=60, longest=0.03)
    print(f"seed {seed}: {kills} kills")
    assert kills >= 700


def count_under_fire(
    workspace: Workspace, random: Random, *, least: int, steps: int, longest: float
) -> int:
    """Kill counting processes at random moments, run after run; how often, at `least`.

    A process that reads all the while, as a server does, is killed and started anew too.
    """
    kills = 0
    while kills < least:
        path = create_run(workspace, "count", {}, name="count")
        reader = forked(lambda path=path: look(path))
        while view_run(path).status != "done":
            step, began = _counted(path), time.time()
            pid = forked(lambda path=path: count(path, steps))
            time.sleep(random.uniform(0, longest))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            if random.random() < 0.1:
                end(reader)
                kills += 1
                reader = forked(lambda path=path: look(path))
            assert _counted(path) >= step, "a checkpoint was lost"
            assert _said(path, began) in ([], [step]), (
                "it went on from another step than the checkpoint's"
            )
            lines = numbers(path)
            assert lines == expected(steps)[: len(lines)], "a torn or doubled line"
            assert view_run(path).status in ("done", "interrupted", "queued")
        end(reader)
        assert numbers(path) == expected(steps)
        kept = [p.name for p in (path / "checkpoints").iterdir() if not p.name.startswith(".")]
        assert len(kept) <= 4  # one more if the last kill came before the oldest went
    assert not (workspace.root / "misread").exists(), (workspace.root / "misread").read_text()
    return kills


def look(path: Path) -> None:
    """Read a run again and again; whatever is not whole is written down."""
    whole = expected(10_000)
    try:
        while True:
            time.sleep(0.002)
            view_run(path)
            lines = numbers(path)
            assert lines == whole[: len(lines)], lines[-1]
    except BaseException as error:
        with (path.parents[1] / "misread").open("a") as file:
            file.write(f"{type(error).__name__}: {error}\n")


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _counted(path: Path) -> int:
    """The step of the newest checkpoint; every one that is there can be read."""
    states = [json.loads(p.read_bytes())["state"] for p in numbered(path / "checkpoints")]
    return max((state["step"] for state in states), default=0)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("devices", ["0", "0,1"])
def test_the_queue_never_doubles_under_fire(
    workspace: Workspace, devices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    monkeypatch.setattr(worker, "QUEUE_POLL", 0.01)
    done, kills = queue_under_fire(workspace, Random(len(devices)), jobs=150, at_once=6)
    print(f"devices {devices}: {done} jobs, {kills} kills")
    assert done == 150
    assert kills >= 30


def queue_under_fire(
    workspace: Workspace, random: Random, *, jobs: int, at_once: int
) -> tuple[int, int]:
    """Let jobs take turns while some are killed and started anew; (done, kills)."""
    waiting = [create_run(workspace, "train", {}, name=f"job {n}") for n in range(jobs)]
    going: dict[int, Path] = {}
    done = kills = 0
    while waiting or going:
        while waiting and len(going) < at_once:
            path = waiting.pop(0)
            seconds = random.uniform(0, 0.03)
            pid = forked(lambda path=path, seconds=seconds: take_turn(path, seconds, time.sleep))
            going[pid] = path
        time.sleep(random.uniform(0, 0.05))
        victim = random.choice(list(going)) if random.random() < 0.5 else None
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
        for pid in list(going):
            if os.waitpid(pid, 0 if pid == victim else os.WNOHANG)[0] != pid:
                continue
            path = going.pop(pid)
            if view_run(path).status == "done":
                done += 1
            else:
                kills += 1
                waiting.append(path)
    assert not (workspace.root / "doubled").exists(), (workspace.root / "doubled").read_text()
    return done, kills


def check(
    workspace: Workspace,
    kind: str,
    config: Config,
    shares: Sequence[float],
    *,
    learning: bool = False,
) -> tuple[RunView, int]:
    """Alone, then killed at these shares of the time that took (or so many seconds after it began
    to learn): the same."""
    began = time.monotonic()
    submitted = submit(workspace, kind, config.model_dump(mode="json"), name="calm")
    calm = ended(submitted)
    assert calm.status == "done", calm.state
    seconds = 1.0 if learning else time.monotonic() - began
    made = product(workspace, calm)
    make_room(workspace, calm)
    moments = [share * seconds for share in shares]
    view, kills = under_fire(workspace, kind, config, moments, learning=learning)
    assert product(workspace, view) == made
    assert numbers(view.path) == numbers(calm.path)
    left = [p for p in workspace.root.rglob(".*") if not p.name.endswith(".lock")]
    assert left == [], "what kills left behind is swept"
    return view, kills


def test_killed_runs_end_with_the_same_numbers(tmp_path: Path, every_step: None) -> None:
    """Six kills while generators learn: three in the one stage, three in the other."""
    jobs = [
        TrainConfig.make("bagan-gp", "phantom", "quick", batch_size=8, **steps)
        for steps in ({"autoencoder_steps": 8, "steps": 2}, {"autoencoder_steps": 1, "steps": 5})
    ]

    def job(number: int) -> int:
        """In a workspace of its own, so that the two go side by side."""
        home = Workspace(tmp_path / str(number))
        source = ImportConfig(name="phantom", source="phantom", count=120, size=32)
        import_dataset(home, source, MemoryRun())
        random = Random(number)
        moments = [random.uniform(0, 0.2) for _ in range(3)]
        return check(home, "train", jobs[number], moments, learning=True)[1]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(job, range(2))) == [3, 3]


CHAOS_SEEDS = range(3)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", CHAOS_SEEDS)
@pytest.mark.usefixtures("every_step")
def test_every_kind_of_run_survives(workspace: Workspace, tmp_path: Path, seed: int) -> None:
    """Import, poses, weights, both generators, sampling, comparing: each killed several times."""
    import torch
    from torchvision.models import resnet18

    random, total = Random(seed), 0

    def fire(kind: str, config: Config, kills: int) -> RunView:
        nonlocal total
        view, n = check(workspace, kind, config, [random.uniform(0, 0.8) for _ in range(kills)])
        total += n
        return view

    fire("import", ImportConfig(name="phantom", source="phantom", count=240, size=32), 4)
    fire("poses", PosesConfig(dataset="phantom"), 4)
    weights = tmp_path / "resnet18.pth"
    torch.save(resnet18().state_dict(), weights)
    fire("weights", WeightsConfig(network="resnet18", file=str(weights)), 4)
    names = {}
    for generator, tiny in (("bagan-gp", TINY_BAGAN), ("ddpm", TINY_DDPM)):
        trained = fire("train", TrainConfig.make(generator, "phantom", "quick", **tiny), 6)
        names[generator] = f"{generator} images"
        sample = SampleConfig(run=trained.id, name=names[generator], count=30)
        fire("sample", sample, 4)
    classifier = {"size": 32, "epochs": 3, "precision": "fp32"}
    compare = CompareConfig.from_preset(
        "quick", set="phantom", classifier=classifier, synthetic=names, cap=20,
        arms=("none", "bagan-gp"), schedules=("always",),
    )  # fmt: skip
    fire("compare", compare, 6)
    print(f"seed {seed}: {total} kills")
    assert total >= 18


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_study_survives(
    workspace: Workspace, phantom: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path in one process, whose steps are runs of their own."""
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "1")
    random = Random(2)
    shares = [random.uniform(0, 0.6) for _ in range(5)]
    view, kills = check(workspace, "study", StudyConfig(dataset="phantom"), shares)
    statuses = {v.status for v in list_runs(workspace)}
    print(f"study: {kills} kills")
    assert (statuses, kills) == ({"done"}, 5)
    assert len(view.result["steps"]) == 6
