"""One suite over every generator: what fit, sample, save and load promise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DDPMPipeline

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.base import (
    KINDS,
    Generator,
    TrainingData,
    generator_class,
    load_training_data,
)
from rebalance_core.generators.configs import CONFIGS
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

TINY: dict[str, dict[str, Any]] = {
    "bagan-gp": {"autoencoder_steps": 3, "steps": 2, "batch_size": 8},
    "ddpm": {"steps": 3, "batch_size": 4, "widths": (32,), "attention": (), "size": 16},
    "conditional-ddpm": {"steps": 6, "batch_size": 4, "widths": (32,), "attention": (), "size": 16},
    "smote": {"size": 16},
}


@pytest.fixture
def data(workspace: Workspace, phantom: Dataset) -> Callable[[int], TrainingData]:
    return lambda size: load_training_data(phantom, open_set(workspace, "phantom"), size)


def fitted(kind: str, data: Callable[[int], TrainingData], run: MemoryRun) -> Generator:
    config = CONFIGS[kind].from_preset("quick", **TINY[kind])
    return generator_class(kind).fit(config, data(config.model_dump()["size"]), run)


def images(generator: Generator, label: str, count: int, seed: int = 0, **more: Any) -> np.ndarray:
    return np.concatenate(list(generator.sample(label, count, seed, **more)))


def without_time(run: MemoryRun) -> list[dict[str, Any]]:
    return [m for m in run.metrics if m.get("event") != "start"]


@pytest.mark.parametrize("kind", KINDS)
def test_generator_keeps_its_contract(
    kind: str, data: Callable[[int], TrainingData], tmp_path: Path
) -> None:
    run = MemoryRun()
    made = fitted(kind, data, run)
    label = "glioma"
    # it said what happened
    assert run.fraction == 1.0
    assert run.previews
    assert all(np.isfinite(v) for m in run.metrics for v in m.values() if isinstance(v, float))
    # samples: shape, type, seed
    first = images(made, label, 3)
    assert first.shape == (3, made.size, made.size, 1)
    assert first.dtype == np.uint8
    assert np.array_equal(first, images(made, label, 3))
    assert not np.array_equal(first, images(made, label, 3, seed=1))
    assert not np.array_equal(first[0], first[1])
    # image k is the same wherever sampling begins
    assert np.array_equal(images(made, label, 1, first=2), first[2:])
    # what is saved comes back
    folder = tmp_path / "made"
    folder.mkdir()
    made.save(folder)
    assert np.array_equal(images(generator_class(kind).load(folder), label, 3), first)
    # nothing in it needs unpickling
    kinds = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert kinds <= {".json", ".safetensors", ".md"}


@pytest.mark.parametrize("kind", KINDS)
def test_generator_stopped_anywhere_goes_on_as_if_it_had_not(
    kind: str, data: Callable[[int], TrainingData]
) -> None:
    whole = MemoryRun()
    expected = images(fitted(kind, data, whole), "glioma", 2)
    for after in (1, 3, 4):
        run = MemoryRun(stop_after=after)
        with pytest.raises(Cancelled):
            fitted(kind, data, run)
        run.stop_after = None
        assert np.array_equal(images(fitted(kind, data, run), "glioma", 2), expected)
        assert without_time(run) == without_time(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_generator_refuses_what_it_cannot_make(
    kind: str, data: Callable[[int], TrainingData], tmp_path: Path
) -> None:
    made = fitted(kind, data, MemoryRun())
    with pytest.raises(UserError, match="cannot make class 'cat'"):
        made.sample("cat", 1, 0)
    for count in (0, 10_000_000):
        with pytest.raises(UserError, match=f"count={count}"):
            made.sample("glioma", count, 0)
    with pytest.raises(UserError, match="holds no"):
        generator_class(kind).load(tmp_path)


def test_ddpm_trains_minority_classes_and_opens_in_plain_diffusers(
    data: Callable[[int], TrainingData], tmp_path: Path
) -> None:
    made = fitted("ddpm", data, MemoryRun())
    assert made.classes == ("glioma", "meningioma", "pituitary")
    made.save(tmp_path)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "class-0")
    assert pipeline.scheduler.config.num_train_timesteps == 1000
    assert pipeline.unet.config.sample_size == 16


def test_samplers_differ_and_unknown_ones_are_refused(
    data: Callable[[int], TrainingData],
) -> None:
    made = fitted("ddpm", data, MemoryRun())
    fast = images(made, "glioma", 1, sampler="dpm-solver++", steps=3)
    ancestral = images(made, "glioma", 1, sampler="ddpm", steps=3)
    assert not np.array_equal(fast, ancestral)
    with pytest.raises(UserError, match="'euler' in 20 steps"):
        images(made, "glioma", 1, sampler="euler")


def test_presets_are_the_papers_numbers() -> None:
    bagan = CONFIGS["bagan-gp"].from_preset("paper").model_dump()
    assert (bagan["size"], bagan["autoencoder_epochs"], bagan["epochs"]) == (64, 60, 100)
    assert (bagan["lr"], bagan["autoencoder_lr"]) == (0.0002, 0.002)
    assert (bagan["beta1"], bagan["beta2"], bagan["batch_size"]) == (0.5, 0.9, 128)
    ddpm = CONFIGS["ddpm"].from_preset("paper").model_dump()
    assert (ddpm["size"], ddpm["epochs"], ddpm["lr"], ddpm["warmup_steps"]) == (128, 50, 0.001, 500)
    assert (ddpm["batch_size"], ddpm["sampler"], ddpm["sampler_steps"]) == (16, "ddpm", 1000)
