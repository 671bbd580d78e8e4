"""The job that trains a generator on a training set, and the way back to what it made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializeAsAny, ValidationInfo, field_validator

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.training_set import TrainingSet, open_set
from rebalance_core.errors import UserError
from rebalance_core.files import folder_aside, read_json, write_json
from rebalance_core.generators.base import Generator, generator_class, load_training_data
from rebalance_core.generators.configs import CONFIGS
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.run import RunDirectory
from rebalance_core.workspace import Workspace


class TrainConfig(Config):
    """A training run: which generator, on which training set, how."""

    generator: Literal["bagan-gp", "ddpm"]
    set: str
    training: SerializeAsAny[Config]

    @field_validator("training", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Config:
        kind = CONFIGS[info.data["generator"]]
        return value if isinstance(value, kind) else kind.build(**value)

    @classmethod
    def make(cls, kind: str, set_name: str, preset: str, **changes: Any) -> "TrainConfig":
        """From a preset and changes; raises UserError for what doesn't fit."""
        if kind not in CONFIGS:
            raise UserError(f"There is no generator {kind!r}; choose one of {', '.join(CONFIGS)}.")
        training = CONFIGS[kind].from_preset(preset, **changes)
        return cls.build(generator=kind, set=set_name, training=training)


def train_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = TrainConfig.build(**run.config)
    chosen = _own_copy(workspace, run)
    dataset = open_dataset(workspace, chosen.config.dataset)
    target = run.path / "result" / "generator"
    if not target.exists():
        size = run.config["training"]["size"]
        data = load_training_data(dataset, chosen, size, run.progress)
        made = generator_class(config.generator).fit(config.training, data, run)
        with folder_aside(target) as aside:
            made.save(aside)
    return {"generator": config.generator, "set": chosen.name, "dataset": dataset.name}


def _own_copy(workspace: Workspace, run: RunDirectory) -> TrainingSet:
    """The training set as it was when the run began, kept with the run."""
    path = run.path / "set.json"
    if not path.exists():
        write_json(path, open_set(workspace, run.config["set"]).to_json())
    return TrainingSet.from_json(read_json(path))


def load_generator(view: RunView) -> Generator:
    """The generator that a finished training run made."""
    return generator_class(view.config["generator"]).load(generator_folder(view))


def generator_folder(view: RunView) -> Path:
    folder = view.path / "result" / "generator"
    if view.kind != "train" or view.status != "done" or not folder.is_dir():
        raise UserError(f"Run {view.id} ({view.kind}, {view.status}) holds no trained generator.")
    return folder


def run_set(view: RunView) -> TrainingSet:
    """The training set that a run saw."""
    return TrainingSet.from_json(read_json(view.path / "set.json"))
