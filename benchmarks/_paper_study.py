"""The paper's study on one GPU: its baseline, two generators and three schedules, in parallel.

`python benchmarks/_paper_study.py DATASET OUT [--skew step:3] [--size 64] [--seeds 0,1,2]`

Every step is a run of the workspace, as `study DATASET --preset paper --fixed` makes it, but
independent ones go side by side, since a single classifier does not fill a GPU. What differs from
the paper is in the options: the size, and the sampler of the DDPM (`--ddim N` steps instead of
1,000 steps of its own). OUT gets the comparison's results, curves, cells, report and predictions,
and `steps.json`: seconds, machine and versions. A step that was finished before is not repeated.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rebalance_core.comparison.config import PAPER_ARMS, CompareConfig
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import list_runs
from rebalance_core.runs.start import record_run
from rebalance_core.runs.worker import execute
from rebalance_core.study import most_frequent_pose
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import list_sets, make_set, make_subset, open_set
from rebalance_core.workspace import Workspace

COUNT = 1000  # images per class (5.1, 5.3)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--skew", default="step:3")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--ddim", type=int, default=50)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--deadline", type=float, default=1e9)  # s, after which arms are left out
    return parser.parse_args()


def run(config: Config, name: str) -> tuple[str, float]:
    """Execute one run in this process, unless it is done; its id and seconds."""
    workspace = Workspace.from_environment()
    for view in list_runs(workspace):
        if view.name == name and view.status == "done":
            return view.id, 0.0
    start = time.monotonic()
    path = record_run(workspace, config, name=name)
    execute(workspace, RunDirectory(path))
    return path.name, time.monotonic() - start


def prepare(workspace: Workspace, options: argparse.Namespace) -> tuple[str, str]:
    """The training set, and the part of it with its most frequent pose."""
    name = f"paper-{options.skew.replace(':', '')}"
    if name not in list_sets(workspace):
        config = SetConfig(dataset=options.dataset, skew=options.skew, validation_skew="whole")
        make_set(workspace, name, config)
    training_set = open_set(workspace, name)
    posed = f"{name}-pose"
    if posed not in list_sets(workspace):
        run(PosesConfig(dataset=options.dataset, set=name), "poses")
        dataset = open_dataset(workspace, options.dataset)
        make_subset(workspace, posed, training_set, (most_frequent_pose(dataset, training_set),))
    return name, posed


def generate(kind: str, trained_on: str, name: str, options: dict[str, Any]) -> float:
    """Train a generator and sample its images; seconds."""
    workspace = Workspace.from_environment()
    changes = {"size": options["size"]}
    training = TrainConfig.make(kind, trained_on, options["preset"], **changes)
    run_id, seconds = run(training, f"train {kind}")
    minority = tuple(open_set(workspace, trained_on.removesuffix("-pose")).minority)
    sampler = {"sampler": "ddim", "steps": options["ddim"]} if kind == "ddpm" else {}
    if name not in list_synthetic(workspace):
        sampling = SampleConfig(
            run=run_id, name=name, count=options["count"], classes=minority, options=sampler
        )
        seconds += run(sampling, f"sample {kind}")[1]
    return seconds


def comparison(
    set_name: str, options: argparse.Namespace, arms: tuple[str, ...], seeds: tuple[int, ...]
) -> CompareConfig:
    base = CompareConfig.from_preset(options.preset, set=set_name)
    classifier = {**base.classifier.model_dump(), "size": options.size}
    sets = {arm: f"{set_name}-{arm}" for arm in arms if arm != "none"}
    return CompareConfig.from_preset(
        options.preset,
        set=set_name,
        arms=arms,
        seeds=seeds,
        amounts=(str(options.count),),
        cap=None,
        synthetic=sets,
        classifier=classifier,
    )


def main() -> int:
    options = arguments()
    start = time.monotonic()
    workspace = Workspace.from_environment()
    set_name, posed = prepare(workspace, options)
    seeds = tuple(int(seed) for seed in options.seeds.split(","))
    seconds: dict[str, float] = {"prepare": time.monotonic() - start}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        waiting: dict[str, Future[Any]] = {}

        def submit(name: str, function: Callable[..., Any], *values: Any) -> None:
            waiting[name] = pool.submit(function, *values)

        for kind, trained_on in (("ddpm", set_name), ("bagan-gp", posed)):
            submit(
                f"images of {kind}", generate, kind, trained_on, f"{set_name}-{kind}", vars(options)
            )
        for seed in seeds:
            submit(
                f"none {seed}",
                run,
                comparison(set_name, options, ("none",), (seed,)),
                f"none {seed}",
            )
        done: dict[str, set[int]] = {}
        while waiting and time.monotonic() - start < options.deadline:
            name = next((n for n, future in waiting.items() if future.done()), None)
            if name is None:
                time.sleep(0.5)
                continue
            result = waiting.pop(name).result()
            seconds[name] = result if isinstance(result, float) else result[1]
            print(
                f"{time.monotonic() - start:.0f} s: {name} took {seconds[name]:.0f} s", flush=True
            )
            if not name.startswith("images of "):
                arm, number = name.rsplit(" ", 1)
                done.setdefault(arm, set()).add(int(number))
            else:
                kind = name.removeprefix("images of ")
                for each in seeds:
                    config = comparison(set_name, options, (kind,), (each,))
                    submit(f"{kind} {each}", run, config, f"{kind} {each}")
        if waiting:
            print(f"left out after {options.deadline:.0f} s: {', '.join(waiting)}", flush=True)
            for process in multiprocessing.active_children():
                process.kill()
    arms = tuple(arm for arm in PAPER_ARMS if done.get(arm) == set(seeds))
    whole, seconds["together"] = run(comparison(set_name, options, arms, seeds), "together")
    seconds["whole"] = time.monotonic() - start
    collect(workspace, whole, options, seconds)
    return 0


def collect(
    workspace: Workspace, run_id: str, options: argparse.Namespace, seconds: dict[str, float]
) -> None:
    """Copy what the comparison found to OUT."""
    result = workspace.runs / run_id / "result"
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "cells.csv", "curves.csv", "report.html"):
        shutil.copy(result / name, options.out / name)
    shutil.make_archive(str(options.out / "predictions"), "zip", result / "cells")
    made = {"options": {k: str(v) for k, v in vars(options).items()}, "seconds": seconds}
    (options.out / "steps.json").write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    sys.exit(main())
