"""The contract suite that every generator passes, built-in or of another package.

`check_generator(SPEC, {"steps": 3})` raises AssertionError with the first promise that is broken.
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
    MAX_COUNT,
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

SAFE_SUFFIXES = {".json", ".safetensors", ".md"}  # of the files in a generator's folder
STOP_POINTS = (1, 3, 4)  # calls of `should_stop` after which a training is interrupted


def check_generator(spec: GeneratorSpec, settings: Mapping[str, Any]) -> None:
    """Run all checks below on a phantom of 120 images.

    `settings` override fields of the preset `quick`, so that a training takes seconds: it is run
    about seven times. Raises AssertionError for a broken promise, ValueError or UserError for an
    invalid spec, UserError for settings that do not fit the config, and whatever the generator
    itself raises.
    """
    check_spec(spec)
    with tempfile.TemporaryDirectory() as folder:
        data = phantom_data(Workspace(Path(folder) / "home"), spec, settings)
        check_samples(spec, settings, data, Path(folder))
        check_resuming(spec, settings, data)
        check_refusals(spec, settings, data, Path(folder))


def phantom_data(
    workspace: Workspace, spec: GeneratorSpec, settings: Mapping[str, Any]
) -> TrainingData:
    """Import a phantom of 120 images, with 11, 11, 57 and 11 for training, and load them at the
    config's `size`."""
    config = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    dataset = import_dataset(workspace, config, MemoryRun())
    size = spec.config.from_preset("quick", **settings).model_dump()["size"]
    return load_training_data(dataset, open_set(workspace, "phantom"), size)


def fit(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, run: MemoryRun
) -> Generator:
    """Train a generator with the preset `quick`, overridden by `settings`."""
    config = spec.config.from_preset("quick", **settings)
    return spec.generator_class().fit(config, data, run)


def sample_array(
    generator: Generator, label: str, count: int, seed: int = 0, **options: Any
) -> np.ndarray:
    """Sample into one array: uint8 (count, size, size, channels). `options` may include `first`."""
    return np.concatenate(list(generator.sample(label, count, seed, **options)))


def check_samples(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, folder: Path
) -> None:
    """Check progress, previews and metrics; shape, type and determinism of samples; that a saved
    generator loads as the same one; and what its folder contains."""
    run = MemoryRun()
    generator = fit(spec, settings, data, run)
    label, size = generator.classes[0], generator.size
    assert run.fraction == 1.0, "the progress does not end at 1"
    assert run.previews, "there is no preview"
    metrics = [v for line in run.metrics for v in line.values() if isinstance(v, float)]
    assert np.isfinite(metrics).all(), "a metric is NaN or infinite"
    images = sample_array(generator, label, 3)
    assert images.shape == (3, size, size, data.channels), "samples have the wrong shape"
    assert images.dtype == np.uint8, "samples are not uint8"
    assert np.array_equal(images, sample_array(generator, label, 3)), (
        "sampling twice with one seed gives different images"
    )
    assert not np.array_equal(images, sample_array(generator, label, 3, seed=1)), (
        "the seed has no effect"
    )
    assert not np.array_equal(images[0], images[1]), "two images of one seed are equal"
    assert np.array_equal(sample_array(generator, label, 1, first=2), images[2:]), (
        "image k depends on where sampling starts"
    )
    assert isinstance(generator, Interpolates) or not spec.interpolates, (
        "the spec has interpolates=True, but its class has no interpolate()"
    )
    assert isinstance(generator, Denoises) or not spec.denoises, (
        "the spec has denoises=True, but its class has no denoising_frames()"
    )
    saved = folder / "saved"
    saved.mkdir()
    generator.save(saved)
    loaded = spec.generator_class().load(saved)
    assert np.array_equal(sample_array(loaded, label, 3), images), (
        "a loaded generator samples different images"
    )
    suffixes = {p.suffix for p in saved.rglob("*") if p.is_file()}
    unsafe = sorted(suffixes - SAFE_SUFFIXES)
    assert not unsafe, f"its folder contains {', '.join(unsafe)}"


def check_resuming(spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData) -> None:
    """Check that an interrupted training resumes to bitwise the same images and metrics."""
    uninterrupted = MemoryRun()
    generator = fit(spec, settings, data, uninterrupted)
    label = generator.classes[0]
    expected = sample_array(generator, label, 2)
    for calls in STOP_POINTS:
        run = MemoryRun(stop_after=calls)
        try:
            fit(spec, settings, data, run)
        except Cancelled:
            run.stop_after = None
        else:
            assert calls > STOP_POINTS[0], "it does not stop when a stop is requested"
            continue  # the training ended before that call
        images = sample_array(fit(spec, settings, data, run), label, 2)
        interruption = f"resumed after should_stop() call {calls}"
        assert np.array_equal(images, expected), f"{interruption}, it samples different images"
        assert _metrics(run) == _metrics(uninterrupted), f"{interruption}, its metrics differ"


def check_refusals(
    spec: GeneratorSpec, settings: Mapping[str, Any], data: TrainingData, folder: Path
) -> None:
    """Check that an unknown class, a count out of range and an empty folder raise UserError, with a
    message of one line."""
    generator = fit(spec, settings, data, MemoryRun())
    _check_refused(partial(generator.sample, "no such class", 1, 0), "an unknown class")
    for count in (0, 10 * MAX_COUNT):
        _check_refused(partial(generator.sample, generator.classes[0], count, 0), f"count={count}")
    empty = folder / "empty"
    empty.mkdir()
    _check_refused(lambda: spec.generator_class().load(empty), "an empty folder")


def _metrics(run: MemoryRun) -> list[dict[str, Any]]:
    """The logged lines, without the marks of a start."""
    return [line for line in run.metrics if line.get("event") != "start"]


def _check_refused(action: Callable[[], object], case: str) -> None:
    try:
        action()
    except UserError as error:
        assert "\n" not in str(error), f"the message for {case} has several lines"
    else:
        raise AssertionError(f"{case} is not refused with UserError")
