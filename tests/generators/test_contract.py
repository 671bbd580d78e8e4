"""One suite over every generator: the contract of fit, sample, save and load."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "plugin"))
import rebalance_pca
from diffusers import DDPMPipeline

from rebalance_core.datasets.dataset import Dataset
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Generator, TrainingData, load_training_data
from rebalance_core.generators.spec import check_spec, generator_spec, generator_specs
from rebalance_core.runs.run import MemoryRun, Run
from rebalance_core.testing import check_generator, fit, sample_array
from rebalance_core.training_sets.resolve import open_set
from rebalance_core.workspace import Workspace

TINY: dict[str, dict[str, Any]] = {
    "bagan-gp": {"autoencoder_steps": 3, "steps": 2, "batch_size": 8},
    "ddpm": {"steps": 3, "batch_size": 4, "widths": (32,), "attention": (), "size": 16},
    "conditional-ddpm": {"steps": 6, "batch_size": 4, "widths": (32,), "attention": (), "size": 16},
    "smote": {"size": 16},
}


@pytest.mark.parametrize("kind", generator_specs())
def test_generator_keeps_its_contract(kind: str) -> None:
    check_generator(generator_spec(kind), TINY[kind])


def test_a_broken_generator_fails_with_the_promise_it_breaks() -> None:
    settings = {"size": 16, "components": 3}
    spec = replace(rebalance_pca.SPEC, implementation=f"{__name__}:Forgetful")
    with pytest.raises(AssertionError, match=r"should_stop\(\) call 1, its metrics differ"):
        check_generator(spec, settings)
    seedless = replace(spec, implementation=f"{__name__}:Seedless")
    with pytest.raises(AssertionError, match="the seed has no effect"):
        check_generator(seedless, settings)


class Forgetful(rebalance_pca.PcaGenerator):
    """Restarts instead of resuming."""

    @classmethod
    def fit(cls, config: Any, data: TrainingData, run: Run) -> Self:
        run.restore = lambda: None  # type: ignore[method-assign]
        return super().fit(config, data, run)


class Seedless(rebalance_pca.PcaGenerator):
    """Ignores the seed."""

    def batches(
        self, label: str, count: int, seed: int, first: int, **sampler: Any
    ) -> Iterator[np.ndarray]:
        return super().batches(label, count, 0, first, **sampler)


INVALID: dict[str, dict[str, Any]] = {
    "title is empty": {"title": " "},
    "implementation is empty": {"implementation": ""},
    "config lacks the presets quick, small": {
        "config": type("Odd", (rebalance_pca.PcaConfig,), {"presets": {"paper": {}, "strong": {}}})
    },
    "has no field colour": {"main_fields": ("size", "colour")},
    "cost and step_flops belong together": {"cost": None},
    "cannot be used as a name of a generator": {"name": "../x"},
    "which separate arms": {"name": "a+b"},
}


@pytest.mark.parametrize("problem", INVALID)
def test_every_spec_is_complete(problem: str) -> None:
    for spec in generator_specs().values():
        check_spec(spec)
    with pytest.raises((ValueError, UserError), match=re.escape(problem)):
        check_spec(replace(rebalance_pca.SPEC, **INVALID[problem]))


@pytest.fixture
def data(workspace: Workspace, phantom: Dataset) -> Callable[[int], TrainingData]:
    return lambda size: load_training_data(phantom, open_set(workspace, "phantom"), size)


def fitted(kind: str, data: Callable[[int], TrainingData], run: MemoryRun) -> Generator:
    size = generator_spec(kind).config.from_preset("quick", **TINY[kind]).model_dump()["size"]
    return fit(generator_spec(kind), TINY[kind], data(size), run)


def test_ddpm_trains_minority_classes_and_opens_in_plain_diffusers(
    data: Callable[[int], TrainingData], tmp_path: Path
) -> None:
    made = fitted("ddpm", data, MemoryRun())
    assert made.classes == ("glioma", "meningioma", "pituitary")
    made.save(tmp_path)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "class-0")
    assert pipeline.scheduler.config.num_train_timesteps == 1000
    assert pipeline.unet.config.sample_size == 16


def test_samplers_differ_and_unknown_ones_are_refused(data: Callable[[int], TrainingData]) -> None:
    made = fitted("ddpm", data, MemoryRun())
    fast = sample_array(made, "glioma", 1, sampler="dpm-solver++", steps=3)
    ancestral = sample_array(made, "glioma", 1, sampler="ddpm", steps=3)
    assert not np.array_equal(fast, ancestral)
    with pytest.raises(UserError, match="'euler' in 20 steps"):
        sample_array(made, "glioma", 1, sampler="euler")


def test_presets_are_the_papers_numbers() -> None:
    bagan = generator_spec("bagan-gp").config.from_preset("paper").model_dump()
    assert (bagan["size"], bagan["autoencoder_epochs"], bagan["epochs"]) == (64, 60, 100)
    assert (bagan["lr"], bagan["autoencoder_lr"]) == (0.0002, 0.002)
    assert (bagan["beta1"], bagan["beta2"], bagan["batch_size"]) == (0.5, 0.9, 128)
    ddpm = generator_spec("ddpm").config.from_preset("paper").model_dump()
    assert (ddpm["size"], ddpm["epochs"], ddpm["lr"], ddpm["warmup_steps"]) == (128, 50, 0.001, 500)
    assert (ddpm["batch_size"], ddpm["sampler"], ddpm["sampler_steps"]) == (16, "ddpm", 1000)
