"""The job that trains a generator on a training set, and the way back to what it made."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializeAsAny, ValidationInfo, field_validator

from rebalance_core.config import Config
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.datasets.source import is_label
from rebalance_core.datasets.training_set import TrainingSet, open_set
from rebalance_core.errors import UserError
from rebalance_core.files import folder_aside, read_json, write_bytes, write_json
from rebalance_core.generators.base import Generator, generator_class, load_training_data
from rebalance_core.generators.configs import CONFIGS, CONTINUABLE
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.run import RunDirectory, find_run
from rebalance_core.workspace import Workspace, check_name

RECORD = "trained-on.json"  # lies with a generator's weights: what it was trained on, and how


class TrainConfig(Config):
    """A training run: which generator, on which training set, how."""

    generator: Literal["bagan-gp", "ddpm"]
    set: str
    training: SerializeAsAny[Config]
    continues: str | None = None  # id of the run whose last checkpoint this one goes on from
    folder: str | None = None  # of a trained generator that is taken as it is

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


def continued(workspace: Workspace, run_id: str, **changes: Any) -> TrainConfig:
    """Go on from where another run's last checkpoint stands, for more epochs or another lr.

    The result is what the whole number of epochs would have given from the start. Raises UserError
    for a run that cannot be continued and for changes that would contradict what was trained.
    """
    view = view_run(find_run(workspace, run_id))
    if view.kind != "train" or view.live:
        raise UserError(f"Run {view.id} ({view.kind}, {view.status}) is no ended training run.")
    config = TrainConfig.build(**view.config)
    allowed = CONTINUABLE.get(config.generator, ())
    if not allowed:
        raise UserError(
            f"A {config.generator} cannot be continued: its learning rate has fallen to zero."
        )
    if not (view.path / "checkpoints" / "last.pt").exists():
        raise UserError(f"Run {view.id} has no checkpoint to go on from.")
    other = [field for field in changes if field not in allowed]
    if other:
        raise UserError(
            f"{', '.join(other)} cannot change when a run is continued; what can: "
            f"{', '.join(allowed)}."
        )
    old = config.training.model_dump(mode="json")
    training = CONFIGS[config.generator].build(**{**old, **changes})
    longer = [f for f in ("steps", "epochs") if _number(training, f) > _number(config.training, f)]
    if view.status == "done" and not longer:
        length = "steps" if old.get("steps") else "epochs"
        raise UserError(f"Run {view.id} has finished; give more {length} than {old[length]}.")
    return config.model_copy(update={"training": training, "continues": view.id})


def _number(training: Config, field: str) -> int:
    return int(getattr(training, field) or 0)


def from_folder(workspace: Workspace, folder: Path, set_name: str | None = None) -> TrainConfig:
    """A trained generator that lies in `folder`, as `fit` and `save` left it.

    What it was trained on stands in its `trained-on.json`; without that file `set_name` says it.
    """
    record = _record(folder)
    kind = record.get("generator") or ("ddpm" if (folder / "ddpm.json").exists() else "bagan-gp")
    if kind not in CONFIGS:
        raise UserError(f"{folder / RECORD} speaks of a generator {kind!r} that is not known.")
    name = record["set"]["name"] if record else set_name
    if name is None:
        raise UserError(
            f"{folder} does not say what it was trained on (it has no {RECORD}); name the training "
            "set that it was trained on."
        )
    if not record:
        open_set(workspace, name)
    training = record.get("training") or CONFIGS[kind].from_preset("paper")
    return TrainConfig.build(
        generator=kind, set=check_name(name), training=training, folder=str(folder.resolve())
    )


def _record(folder: Path) -> dict[str, Any]:
    """What a generator's folder says it was trained on, checked; {} where it says nothing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the one with config.json and the weights.")
    if not (folder / RECORD).exists():
        return {}
    record = read_json(folder / RECORD)
    try:
        chosen = TrainingSet.from_json(record["set"])
        check_name(chosen.name)
        wrong = [label for label in chosen.classes if not is_label(label)]
        if wrong:
            raise UserError(f"{folder / RECORD}: class {wrong[0]!r} cannot be a folder's name.")
        return {**record, "set": chosen.to_json()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / RECORD} is not readable ({error!r}); remove it.") from error


def train_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = TrainConfig.build(**run.config)
    chosen = _own_copy(workspace, run, config)
    target = run.path / "result" / "generator"
    if not target.exists():
        if config.folder:
            made = _take(Path(config.folder), config.generator, chosen)
        else:
            dataset = open_dataset(workspace, chosen.config.dataset)
            size = run.config["training"]["size"]
            data = load_training_data(dataset, chosen, size, run.progress)
            made = generator_class(config.generator).fit(config.training, data, run)
        with folder_aside(target) as aside:
            made.save(aside)
            write_json(aside / RECORD, {
                "generator": config.generator,
                "set": chosen.to_json(),
                "training": config.training.model_dump(mode="json"),
                "code": run.record["code"],
            })  # fmt: skip
    return {"generator": config.generator, "set": chosen.name, "dataset": chosen.config.dataset}


def _own_copy(workspace: Workspace, run: RunDirectory, config: TrainConfig) -> TrainingSet:
    """The training set as it was when the run began, kept with the run."""
    path = run.path / "set.json"
    if not path.exists():
        record = _record(Path(config.folder)) if config.folder else {}
        if record:
            seen = record["set"]
        elif config.continues:
            seen = read_json(_go_on(find_run(workspace, config.continues), run.path) / "set.json")
        else:
            seen = open_set(workspace, config.set).to_json()
        write_json(path, seen)
    return TrainingSet.from_json(read_json(path))


def _go_on(parent: Path, path: Path) -> Path:
    """Put what `parent` logged, and its last checkpoint, where this run will find them."""
    shutil.copytree(parent / "previews", path / "previews", dirs_exist_ok=True)
    write_bytes(path / "metrics.jsonl", (parent / "metrics.jsonl").read_bytes())
    (path / "checkpoints").mkdir(exist_ok=True)
    shutil.copyfile(parent / "checkpoints" / "last.pt", path / "checkpoints" / ".last.pt")
    os.replace(path / "checkpoints" / ".last.pt", path / "checkpoints" / "last.pt")
    return parent


def _take(folder: Path, kind: str, chosen: TrainingSet) -> Generator:
    """The generator in `folder`; raises UserError unless it makes classes of the training set."""
    made = generator_class(kind).load(folder)
    other = sorted({*made.classes, *made.unseen} - set(chosen.classes))
    if other:
        raise UserError(
            f"The generator in {folder} makes {', '.join(other)[:200]}, which training set "
            f"{chosen.name} does not have ({', '.join(chosen.classes)})."
        )
    return made


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
