"""Kill -9 at random moments, resume, and the numbers are those of a run that was left alone.

In `make test` six kills; in `make chaos` those of `CASES` over all kinds of runs, with servers that
are killed beside them (`tests/browser/test_survival.py`), jobs killed in the queue, and
thousands of a process that only counts. Every moment comes from a seed.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from counting import count, expected, take_turn
from fire import CASES, EXCEPTIONS, Watch, check, ended, kill, said, tiny
from products import numbers
from starting import submit

from rebalance_core.catalogue import JOBS
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import TrainConfig
from rebalance_core.runs import worker
from rebalance_core.runs.directory import create_run, list_checkpoints
from rebalance_core.runs.executor import resume, view_run
from rebalance_core.runs.run import CHECKPOINT_VARIABLE, MemoryRun
from rebalance_core.workspace import Workspace

QUEUE_KILLS = 8


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
@pytest.mark.parametrize("seed", range(3))
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
            assert said(path, began) in ([], [step]), (
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
    states = [json.loads(p.read_bytes())["state"] for p in list_checkpoints(path / "checkpoints")]
    return max((state["step"] for state in states), default=0)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("devices", ["0", "0,1"])
def test_the_queue_never_doubles_under_fire(
    workspace: Workspace, devices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    monkeypatch.setattr(worker, "QUEUE_POLL", 0.01)
    done, kills = queue_under_fire(workspace, Random(len(devices)), jobs=150, least=30, at_once=6)
    print(f"devices {devices}: {done} jobs, {kills} kills")
    assert done >= 150
    assert kills >= 30


def queue_under_fire(
    workspace: Workspace, random: Random, *, jobs: int, least: int, at_once: int
) -> tuple[int, int]:
    """Let so many jobs take turns, or more until `least` of them were killed, and start those
    anew; (done, kills). Whatever was not killed gets done."""
    waiting = [create_run(workspace, "train", {}, name=f"job {n}") for n in range(jobs)]
    going: dict[int, Path] = {}
    done = kills = 0
    while waiting or going or kills < least:
        if not waiting and kills < least:
            waiting.append(create_run(workspace, "train", {}, name="one more"))
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
                assert pid == victim, view_run(path).state
                kills += 1
                waiting.append(path)
    assert not (workspace.root / "doubled").exists(), (workspace.root / "doubled").read_text()
    return done, kills


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("every_step")
def test_real_jobs_that_queue_never_share_a_device(workspace: Workspace, phantom: Dataset) -> None:
    """Trainings that wait and that run are killed and resumed; they take turns all the same."""
    random, kills = Random(4), 0
    configs = [tiny(name).model_dump(mode="json") for name in ("bagan-gp", "ddpm")]
    calm = [ended(submit(workspace, "train", config, name="calm")) for config in configs]
    with Watch(workspace):
        going = [submit(workspace, "train", config, name="queued") for config in configs * 2]
        while not all(view_run(view.path).status == "done" for view in going):
            time.sleep(random.uniform(0, 2))
            now = [view_run(view.path) for view in going]
            assert not [view.state for view in now if view.status in ("failed", "cancelled")]
            at_hand = [view for view in now if view.live and view.state.pid]
            if at_hand and kills < QUEUE_KILLS:
                kills += kill(random.choice(at_hand))
            for view in map(view_run, (view.path for view in going)):
                if view.status == "interrupted":
                    resume(workspace, view.id)
    print(f"queue of real jobs: {kills} kills")
    assert kills == QUEUE_KILLS
    for view, alone in zip(going, calm * 2, strict=True):
        assert numbers(view.path) == numbers(alone.path)


def test_every_kind_of_run_is_put_under_fire() -> None:
    """Whoever adds a kind adds a case to `CASES` in fire.py, or says in `EXCEPTIONS` why not."""
    covered = {case.kind for case in CASES.values()}
    assert JOBS.keys() - covered == EXCEPTIONS.keys()
    assert {f"train {generator}" for generator in generator_specs()} <= CASES.keys()
    assert min(case.kills for case in CASES.values()) >= 5, "several times each"
    assert sum(case.kills for case in CASES.values()) >= 60


def test_killed_runs_end_with_the_same_numbers(tmp_path: Path, every_step: None) -> None:
    """Six kills while generators learn: three in the one stage, three in the other."""
    jobs = [
        TrainConfig.make("bagan-gp", "phantom", "quick", batch_size=8, **steps)
        for steps in ({"autoencoder_steps": 8, "steps": 2}, {"autoencoder_steps": 1, "steps": 5})
    ]

    def job(number: int) -> None:
        """In a workspace of its own, so that the two go side by side."""
        home = Workspace(tmp_path / str(number))
        source = ImportConfig(name="phantom", source="phantom", count=120, size=32)
        import_dataset(home, source, MemoryRun())
        check(home, "train", jobs[number], Random(number), 3, 0.2, learning=True)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(job, range(2))) == [None, None]
