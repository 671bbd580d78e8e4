"""Runs under fire: killed with -9 at seeded random moments, resumed, compared with one left alone.

`CASES` has every kind of run on tiny settings, each of what the ones before it made.
"""

import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image
from products import beneath, make_room, numbers, product
from safetensors import safe_open
from starting import submit

from rebalance_core.comparison.classify import ClassifyConfig
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.datasets.duplicates import load_near_pairs
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.generators.spec import generator_specs
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.runs.devices import list_devices
from rebalance_core.runs.directory import create_run, list_checkpoints
from rebalance_core.runs.executor import RunView, list_runs, needs_device, resume, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.study import StudyConfig
from rebalance_core.synthesis.denoising import DenoiseConfig
from rebalance_core.synthesis.external import ExternalConfig
from rebalance_core.synthesis.filtering import FilterConfig
from rebalance_core.synthesis.interpolation import InterpolateConfig
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.synthesis.scoring import ScoreConfig
from rebalance_core.synthesis.synthetic_set import list_synthetic, open_synthetic
from rebalance_core.system.files import read_json, write_json
from rebalance_core.system.processes import find_process
from rebalance_core.workspace import Workspace

PATIENCE = 600.0  # seconds for a tiny run under load
ROUNDS = 8  # in which a kind must have been killed as often as it should
FOREVER = float("inf")

Again = Callable[[Workspace, RunView], None]  # resume a run that was killed


Start = Callable[[Workspace, str, Config, str], RunView]  # (…, kind, config, name): hand it over


def again(workspace: Workspace, view: RunView) -> None:
    resume(workspace, view.id)


def start(workspace: Workspace, kind: str, config: Config, name: str) -> RunView:
    return submit(workspace, kind, config.model_dump(mode="json"), name=name)


# What is killed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A kind of run on tiny settings, made of what the cases before it left."""

    kind: str
    kills: int  # of its processes
    config: Callable[[Mapping[str, RunView], Path], Config]  # (runs so far by case, a folder)
    longest: float = 0.5  # share of the time it takes alone, within which a kill comes
    start: Start = start


SMALL = {"batch_size": 4, "size": 16, "widths": (16, 32), "attention": ()}  # a U-Net
# Enough steps that kills strike in each stage; a generator not named has its contract's settings.
LONGER: dict[str, dict[str, Any]] = {
    "bagan-gp": {"autoencoder_steps": 10, "steps": 5, "batch_size": 8},
    "ddpm": {**SMALL, "steps": 10, "classes": ("glioma", "pituitary")},
    "conditional-ddpm": {**SMALL, "steps": 20, "cbdm": 1.0},
}
# Kinds of run that need no case, and why.
EXCEPTIONS: dict[str, str] = {"timing": "a few seconds that leave nothing but times"}


def tiny(generator: str) -> TrainConfig:
    if generator in LONGER:
        return TrainConfig.make(generator, "phantom", "quick", **LONGER[generator])
    sys.path.append(str(Path(__file__).parents[1] / "generators"))
    from test_contract import TINY

    return TrainConfig.make(generator, "phantom", "quick", **TINY[generator])


def _weights(made: Mapping[str, RunView], folder: Path) -> Config:
    import torch  # not above: processes that only count are forked from the tests' one
    from torchvision.models import resnet18

    file = folder / "resnet18.pth"
    torch.save(resnet18().state_dict(), file)
    return WeightsConfig(network="resnet18", file=str(file))


def _compare(made: Mapping[str, RunView], folder: Path) -> Config:
    return CompareConfig.from_preset(
        "quick",
        set="phantom",
        arms=("none", "bagan-gp"),
        schedules=("always",),
        cap=20,
        synthetic={"bagan-gp": "bagan-gp images"},
        reuse=False,
        classifier={"size": 32, "epochs": 3, "precision": "fp32"},
    )


def _bring(made: Mapping[str, RunView], folder: Path) -> Config:
    pictures = folder / "pictures" / "glioma"
    pictures.mkdir(parents=True, exist_ok=True)
    for number in range(60):
        shade = np.full((32, 32), number, np.uint8)
        Image.fromarray(shade).save(pictures / f"{number}.png")
    return ExternalConfig(name="brought", folder=str(pictures.parent), set="phantom")


def _classify(made: Mapping[str, RunView], folder: Path) -> Config:
    picture = folder / "picture.png"
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(picture)
    return ClassifyConfig(run=made["compare"].id, images=(str(picture),))


def start_study(workspace: Workspace, kind: str, config: Config, name: str) -> RunView:
    """A study that was interrupted when it had planned its longest steps, on tiny settings."""
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=name)
    chosen = "phantom-quick"
    classifier = {**CompareConfig.presets["quick"]["classifier"], "epochs": 3}
    ids: dict[str, str] = {}

    def plan(step: str, its: Config) -> None:
        made = create_run(
            workspace,
            step.split()[0],
            its.model_dump(mode="json"),
            name=f"{step} for {name}",
            parents=[path.name],
        )
        ids[step] = made.name

    synthetic = {arm: f"{chosen}-{arm}" for arm in ("bagan-gp", "ddpm")}
    changes = {"bagan-gp": LONGER["bagan-gp"], "ddpm": {**SMALL, "steps": 6}}
    for arm, images in synthetic.items():
        plan(f"train {arm}", TrainConfig.make(arm, chosen, "quick", **changes[arm]))
        sample = SampleConfig(
            run=ids[f"train {arm}"],
            name=images,
            count=20,
            classes=("glioma", "meningioma", "pituitary"),
        )
        plan(f"sample {arm}", sample)
    compare = CompareConfig.from_preset(
        "quick",
        set=chosen,
        arms=("none", *synthetic),
        schedules=("always",),
        cap=20,
        synthetic=synthetic,
        classifier=classifier,
        reuse=False,
    )
    plan("compare", compare)
    write_json(path / "steps.json", {"runs": ids, "names": {}})
    state = read_json(path / "state.json")
    write_json(path / "state.json", {**state, "status": "interrupted", "reason": "It was so."})
    return resume(workspace, path.name)


def _cases() -> Iterator[tuple[str, Case]]:
    source = ImportConfig(name="phantom", source="phantom", count=240, size=32)
    yield "import", Case("import", 6, lambda made, folder: source)
    yield "poses", Case("poses", 6, lambda made, folder: PosesConfig(dataset="phantom"))
    yield "weights", Case("weights", 6, _weights)
    for name in generator_specs():
        yield f"train {name}", Case("train", 8, lambda made, folder, name=name: tiny(name))
        yield (
            f"sample {name}",
            Case(
                "sample",
                5,
                lambda made, folder, name=name: SampleConfig(
                    run=made[f"train {name}"].id, name=f"{name} images", count=30
                ),
            ),
        )
    yield (
        "interpolate",
        Case(
            "interpolate",
            5,
            lambda made, folder: InterpolateConfig(
                run=made["train bagan-gp"].id, start="glioma", end="notumor", frames=101
            ),
        ),
    )
    yield (
        "denoise",
        Case(
            "denoise",
            5,
            lambda made, folder: DenoiseConfig(
                run=made["train conditional-ddpm"].id, label="glioma", frames=101, steps=200
            ),
        ),
    )
    yield (
        "score",
        Case("score", 5, lambda made, folder: ScoreConfig(synthetic="bagan-gp images", epochs=4)),
    )
    yield (
        "filter",
        Case(
            "filter",
            5,
            lambda made, folder: FilterConfig(
                synthetic="bagan-gp images",
                name="filtered",
                confidence=1e-6,
                twins=True,
                epochs=4,
                seed=1,
                without=tuple(f"glioma/{k:06d}.png" for k in range(3)),
            ),
        ),
    )
    yield "bring", Case("bring", 5, _bring)
    yield "compare", Case("compare", 8, _compare)
    yield "classify", Case("classify", 5, _classify)
    study = StudyConfig(dataset="phantom")
    yield "study", Case("study", 5, lambda made, folder: study, longest=0.3, start=start_study)


CASES = dict(_cases())


# How it is killed ----------------------------------------------------------------------------


def until(done: Callable[[], Any], what: Callable[[], object], pause: float = 0.02) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(pause)


def ended(view: RunView) -> RunView:
    until(lambda: not view_run(view.path).live, lambda: view_run(view.path).state, pause=0.05)
    return view_run(view.path)


def last_step(path: Path) -> int | None:
    """The step that the last checkpoint holds, as its kind of run counts; None without one."""
    import torch

    there = list_checkpoints(path / "checkpoints")
    if not there:
        return None
    state = torch.load(there[-1], weights_only=True)["state"]
    if "cells" in state:
        epochs = int(read_json(path / "run.json")["config"]["classifier"]["epochs"])
        return int(state["cells"]) * epochs + len(state["curve"])
    return int(state["step"])


def said(path: Path, since: float) -> list[int]:
    """The steps from which the run said that it goes on."""
    return [m["step"] for m in _lines(path, since) if m.get("event") == "start"]


def _lines(path: Path, since: float) -> list[dict[str, Any]]:
    return [m for m in read_metrics(path) if m["time"] >= since - 0.001]


def strike(view: RunView, moment: float, learning_since: float | None = None) -> bool:
    """Kill the run's processes `moment` seconds after one of them is there, or after it has said
    from which step it goes on; False if it ended before."""
    path = view.path
    until(lambda: view_run(path).state.pid or not view_run(path).live, lambda: path)
    if learning_since is not None:
        until(
            lambda: said(path, learning_since) or not view_run(path).live,
            lambda: (path / "log.txt").read_text(),
        )
    deadline = time.monotonic() + moment
    while (view := view_run(path)).live and time.monotonic() < deadline:
        time.sleep(0.1 if moment == FOREVER else 0.005)
    if not view.live:
        return False
    return kill(view)


def kill(view: RunView) -> bool:
    """Kill a live run's processes; False if it had just ended."""
    with suppress(ProcessLookupError):
        os.killpg(view.state.pid, signal.SIGKILL)
    view = ended(view)
    if view.status == "done":
        return False
    assert (view.status, view.state.reason) == ("interrupted", "The process exited unexpectedly.")
    return True


def kept_steps(workspace: Workspace) -> dict[Path, int]:
    """The steps that the last checkpoints of all unfinished runs hold, a study's steps too."""
    steps = {v.path: last_step(v.path) for v in list_runs(workspace) if v.status != "done"}
    return {path: step for path, step in steps.items() if step is not None}


def check_went_on(workspace: Workspace, kept: Mapping[Path, int], since: float) -> None:
    """Each run that has a word to say said first from which step it goes on: just the one that
    its last checkpoint held."""
    for view in list_runs(workspace):
        lines = _lines(view.path, since)
        assert said(view.path, since) in ([], [kept.get(view.path, 0)]), (view.id, kept, lines)
        if view.path in kept and lines:
            assert lines[0].get("event") == "start", (view.id, lines[0])


def under_fire(
    workspace: Workspace,
    kind: str,
    config: Config,
    moments: Sequence[float],
    *,
    learning: bool = False,
    start: Start = start,
    again: Again = again,
) -> tuple[RunView, int]:
    """Run a job to its end, killed at each of `moments` after it (re)started, or began to learn,
    and resumed each time from just the step that its last checkpoint holds; how often it could
    be killed."""
    kills, kept, since = 0, kept_steps(workspace), time.time()
    view = start(workspace, kind, config, f"{kind} under fire")
    while True:
        moment = moments[kills] if kills < len(moments) else FOREVER
        kills += strike(view, moment, since if learning else None)
        view = view_run(view.path)
        check_went_on(workspace, kept, since)
        if view.status == "done":
            return view, kills
        assert view.status == "interrupted", (view.state, (view.path / "log.txt").read_text())
        assert [v.id for v in list_runs(workspace)].count(view.id) == 1
        check_whole(workspace, since=0.0)
        kept, since = kept_steps(workspace), time.time()
        again(workspace, view)


def check(
    workspace: Workspace,
    kind: str,
    config: Config,
    random: Random,
    kills: int,
    longest: float,
    *,
    learning: bool = False,
    start: Start = start,
    again: Again = again,
) -> RunView:
    """Alone, then killed so often within the share `longest` of the time that took (or so many
    seconds after it began to learn): the same. A run that ends too early is done once more."""
    began = time.monotonic()
    calm = ended(start(workspace, kind, config, "calm"))
    assert calm.status == "done", (calm.state, (calm.path / "log.txt").read_text())
    seconds = 1.0 if learning else time.monotonic() - began
    made, told = product(workspace, calm), _told(workspace, calm)
    view, left = calm, kills
    for _ in range(ROUNDS):
        make_room(workspace, view)
        moments = [random.uniform(0, longest * seconds) for _ in range(left)]
        view, killed = under_fire(
            workspace, kind, config, moments, learning=learning, start=start, again=again
        )
        left -= killed
        assert product(workspace, view) == made
        assert _told(workspace, view) == told
        hidden = [p for p in workspace.root.rglob(".*") if not p.name.endswith(".lock")]
        assert hidden == [], "what kills left behind is swept"
        if not left:
            return view
    raise AssertionError(f"{kind} was killed {kills - left} times only, not {kills}")


def _told(workspace: Workspace, view: RunView) -> list[list[dict[str, Any]]]:
    """The metrics of a run and of its steps, if it has some."""
    return [numbers(path) for path in (view.path, *beneath(workspace, view))]


# What is seen meanwhile ----------------------------------------------------------------------


class Watch:
    """Reads the workspace all the while, as a server does; raises at its end what it saw amiss."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.looks = 0
        self._over = threading.Event()
        self._amiss: BaseException | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        if self._amiss is not None:
            raise self._amiss

    def _look(self) -> None:
        seen = 0.0
        try:
            while not self._over.wait(0.2):
                seen, since = time.time(), seen
                check_alone(self.workspace)
                check_whole(self.workspace, since - 1)
                self.looks += 1
        except BaseException as error:
            self._amiss = error


def check_alone(workspace: Workspace) -> None:
    """No more processes work on devices than there are; a study's steps are in its process."""
    first = _on_devices(workspace)
    if len(first) > 1:
        # Who is there at both looks was there in between, and so at the same time as the others.
        both = {pid: runs for pid, runs in _on_devices(workspace).items() if pid in first}
        assert len(both) <= len(list_devices()), f"at once on the device: {both}"


def _on_devices(workspace: Workspace) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for view in list_runs(workspace):
        state = view.state
        if (
            view.status == "running"
            and needs_device(view)
            and find_process(state.pid, state.pid_started or 0.0)
        ):
            found.setdefault(state.pid, []).append(view.id)
    return found


def check_whole(workspace: Workspace, since: float) -> None:
    """Whatever is there and was written after `since` can be read to its end."""
    for view in list_runs(workspace):
        assert view.kind != "damaged", view.state
        assert all("step" in line for line in read_metrics(view.path))
    for path in _finished_files(workspace.root):
        if path.suffix in READERS:
            with _unless_gone(path):
                if path.stat().st_mtime >= since:
                    READERS[path.suffix](path)
    for name in list_synthetic(workspace):
        with _unless_gone(workspace.synthetic / name):
            made = open_synthetic(workspace, name)
            assert {label: len(made.files(label)) for label in made.counts} == made.counts
    for name in list_datasets(workspace):
        with _unless_gone(workspace.datasets / name):
            dataset = open_dataset(workspace, name)
            assert len(dataset.catalogue) > len(load_near_pairs(dataset)) >= 0


def _finished_files(root: Path) -> Iterator[Path]:
    """All files that are not hidden, nor in hidden folders; folders may go meanwhile."""
    for folder, inner, names in os.walk(root):  # leaves out what it finds gone
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


@contextmanager
def _unless_gone(path: Path) -> Iterator[None]:
    """What cannot be read was half-written, unless it was removed meanwhile."""
    try:
        yield
    except Exception as error:
        if path.exists():
            raise AssertionError(f"{path} was half-written: {error!r}") from error


def _read_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _read_tensors(path: Path) -> None:
    with safe_open(path, "np") as opened:  # its header, against the size of the file
        assert list(opened.keys())


def _read_checkpoint(path: Path) -> None:
    with zipfile.ZipFile(path) as opened:  # its table of contents, which is written last
        assert opened.namelist()


READERS: dict[str, Callable[[Path], object]] = {
    ".json": read_json,
    ".png": _read_picture,
    ".safetensors": _read_tensors,
    ".pt": _read_checkpoint,
    ".npy": lambda path: np.load(path, mmap_mode="r"),
    ".npz": lambda path: dict(np.load(path)),
}
