"""The contract suite of generators, for the built-in ones and for those of other packages.

`check_generator(SPEC, {...})` raises AssertionError naming what a generator does not keep.
"""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.base import (
    Denoises,
    Generator,
    Interpolates,
    TrainingData,
    load_training_data,
)
from rebalance_core.generators.spec import GeneratorSpec, check_spec
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

SAFE = {".json", ".safetensors", ".md"}  # what a generator's folder may contain
STOPS = (1, 3, 4)  # a training is stopped at its n-th question whether to stop


def check_generator(spec: GeneratorSpec, settings: Mapping[str, Any]) -> None:
    """Run the whole suite on a phantom of 120 images; `settings` change the preset `quick` so that
    a training takes seconds."""
    check_spec(spec)
    with tempfile.TemporaryDirectory() as folder:
        data = phantom_data(Workspace(Path(folder) / "home"), spec, settings)
        check_samples(spec, settings, data, Path(folder))
        check_resuming(spec, settings, data)
        check_refusals(spec, settings, data, Path(folder))


def phantom_data(
    workspace: Workspace, spec: GeneratorSpec, settings: Mapping[str, Any]
) -> TrainingData:
    """A phantom of 120 images (11, 11, 57 and 11 for training) at the size of the settings."""
    config = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    dataset = import_dataset(workspace, config, MemoryRun())
    size = spec.config.from_preset("quick", **settings).model_dump()["size"]
    return load_training_data(dataset, open_set(workspace, "phantom"), size)


def fit(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, run: MemoryRun
) -> Generator:
    """Train with the preset `quick`, changed by `settings`."""
    config = spec.config.from_preset("quick", **settings)
    return spec.generator_class().fit(config, data, run)


def sampled(generator: Generator, label: str, count: int, seed: int = 0, **more: Any) -> np.ndarray:
    """uint8 (count, H, W, C)"""
    return np.concatenate(list(generator.sample(label, count, seed, **more)))


def check_samples(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, folder: Path
) -> None:
    """Progress and previews; shape, type and seed of samples; saving, loading, what is saved."""
    run = MemoryRun()
    made = fit(spec, settings, data, run)
    label = made.classes[0]
    assert run.fraction == 1.0, "the progress does not end at 1"
    assert run.previews, "no preview was made"
    floats = [v for m in run.metrics for v in m.values() if isinstance(v, float)]
    assert np.isfinite(floats).all(), "a metric is NaN or infinite"
    first = sampled(made, label, 3)
    assert first.shape == (3, made.size, made.size, data.channels), "samples have another shape"
    assert first.dtype == np.uint8, "samples are not uint8"
    assert np.array_equal(first, sampled(made, label, 3)), "the same seed gives other images"
    assert not np.array_equal(first, sampled(made, label, 3, seed=1)), "the seed has no effect"
    assert not np.array_equal(first[0], first[1]), "images of one seed are equal"
    assert np.array_equal(sampled(made, label, 1, first=2), first[2:]), (
        "image k depends on where sampling begins"
    )
    assert isinstance(made, Interpolates) or not spec.interpolates, "there is no `between`"
    assert isinstance(made, Denoises) or not spec.denoises, "there is no `denoising`"
    target = folder / "made"
    target.mkdir()
    made.save(target)
    again = spec.generator_class().load(target)
    assert np.array_equal(sampled(again, label, 3), first), "a loaded generator samples otherwise"
    suffixes = {p.suffix for p in target.rglob("*") if p.is_file()}
    assert suffixes <= SAFE, f"its folder contains {', '.join(sorted(suffixes - SAFE))}"


def check_resuming(spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData) -> None:
    """A training that is stopped anywhere goes on to the very images and metrics."""
    whole = MemoryRun()
    made = fit(spec, settings, data, whole)
    label = made.classes[0]
    expected = sampled(made, label, 2)
    for after in STOPS:
        run = MemoryRun(stop_after=after)
        try:
            fit(spec, settings, data, run)
        except Cancelled:
            run.stop_after = None
        else:
            assert after > STOPS[0], "it does not stop when it is asked to"
            continue  # it ended before that question
        again = sampled(fit(spec, settings, data, run), label, 2)
        assert np.array_equal(again, expected), f"stopped at question {after}, it ends otherwise"
        assert _logged(run) == _logged(whole), f"stopped at question {after}, its metrics differ"


def check_refusals(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, folder: Path
) -> None:
    """Unknown classes, senseless counts and empty folders are refused in one sentence."""
    made = fit(spec, settings, data, MemoryRun())
    _refused(partial(made.sample, "no such class", 1, 0), "a class that it does not know")
    for count in (0, 10_000_000):
        _refused(partial(made.sample, made.classes[0], count, 0), f"count={count}")
    empty = folder / "empty"
    empty.mkdir()
    _refused(lambda: spec.generator_class().load(empty), "an empty folder")


def _logged(run: MemoryRun) -> list[dict[str, Any]]:
    return [m for m in run.metrics if m.get("event") != "start"]


def _refused(action: Callable[[], object], what: str) -> None:
    try:
        action()
    except UserError as error:
        assert "\n" not in str(error), f"{what} is refused in several lines"
    else:
        raise AssertionError(f"{what} is not refused")
