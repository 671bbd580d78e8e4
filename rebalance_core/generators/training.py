"""The job that trains a generator on a training set, and the way back to what it made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from rebalance_core.config import Config, Reference, RunRef, problem
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.source import is_label
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Generator, check_safetensors_folder, load_training_data
from rebalance_core.generators.spec import (
    GENERATOR_FILE,
    check_generator_name,
    generator_spec,
    generator_specs,
)
from rebalance_core.poses.clustering import open_clustering
from rebalance_core.runs.directory import RunDirectory, find_run, last_checkpoint
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.system.files import atomic_folder, read_json, write_bytes, write_json
from rebalance_core.training_sets.resolve import TrainingSet, open_set, read_set
from rebalance_core.workspace import Workspace, check_name

GeneratorName = Annotated[str, AfterValidator(check_generator_name)]
RECORD = "trained-on.json"  # lies with a generator's weights: what it was trained on, and how


ForeignSetRef = Annotated[str, Reference("set", required=False)]


class TrainConfig(Config):
    """A training run: which generator, on which training set, how."""

    generator: GeneratorName
    set: ForeignSetRef
    training: SerializeAsAny[Config]  # where `believed`: no more than a guess
    believed: bool = False  # what it was trained on is what somebody said of a folder
    continues: RunRef | None = None  # the run whose last checkpoint this one goes on from
    folder: str | None = None  # of a trained generator that is taken as it is

    @field_validator("training", mode="before")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Config:
        spec = generator_specs().get(info.data.get("generator", ""))
        if spec is not None and isinstance(value, spec.config):
            return value
        if spec is None or not isinstance(value, Mapping):
            raise ValueError("it does not fit the generator")
        return spec.config.build(**value)

    @property
    def seed(self) -> int:
        seed: int = self.training.model_dump()["seed"]
        return seed

    @classmethod
    def make(cls, kind: str, set_name: str, preset: str, **changes: Any) -> "TrainConfig":
        """From a preset and changes; raises UserError for what doesn't fit."""
        training = generator_spec(kind).config.from_preset(preset, **changes)
        return cls.build(generator=kind, set=set_name, training=training)


def check_training(workspace: Workspace, config: TrainConfig) -> None:
    """Raises UserError, before any work, where the training set does not exist.

    What a generator in a folder was trained on may be in another workspace.
    """
    if config.folder is None:
        open_set(workspace, config.set)


def continued(workspace: Workspace, run_id: str, **changes: Any) -> TrainConfig:
    """Go on from where another run's last checkpoint stands, for more epochs or another lr.

    The result is what the whole number of epochs would have given from the start. Raises UserError
    for a run that cannot be continued and for changes that would contradict what was trained.
    """
    view = view_run(find_run(workspace, run_id))
    if view.kind != "train" or view.live:
        raise UserError(f"Run {view.id} ({view.kind}, {view.status}) is no ended training run.")
    config = TrainConfig.build(**view.config)
    spec = generator_spec(config.generator)
    allowed = spec.continuable
    if not allowed:
        reason = spec.not_continuable_reason
        raise UserError(f"A {config.generator} cannot be continued: {reason}.")
    if last_checkpoint(view.path) is None:
        raise UserError(f"Run {view.id} has no checkpoint to go on from.")
    other = [field for field in changes if field not in allowed]
    if other:
        raise UserError(
            f"{', '.join(other)} cannot change when a run is continued; what can: "
            f"{', '.join(allowed)}."
        )
    old = config.training.model_dump(mode="json")
    length, other_length = ("steps", "epochs") if old["steps"] else ("epochs", "steps")
    if other_length in changes:
        raise UserError(f"The length of run {view.id} is set in {length}; give {length}=…")
    training = spec.config.build(**{**old, **changes})
    wanted, so_far = getattr(training, length), old[length]
    if wanted < so_far or (view.status == "done" and wanted == so_far):
        more = f"more {length} than" if view.status == "done" else f"at least as many {length} as"
        raise UserError(f"Run {view.id} was made for {so_far}; give {more} that.")
    return config.model_copy(update={"training": training, "continues": view.id})


def from_folder(workspace: Workspace, folder: str, set_name: str) -> TrainConfig:
    """A trained generator that lies in `folder`, as `fit` and `save` left it.

    What it was trained on stands in its `trained-on.json`; without that file, it is
    assumed to have been trained on `set_name` alone (`believed`).
    """
    try:
        path = Path(folder).expanduser().resolve()
        record = _read_record(path)
    except (OSError, RuntimeError, ValueError) as error:  # too long, of nobody, with a NUL
        raise UserError(f"{folder[:200]!r} is no folder that can be read ({error}).") from error
    if record is None:
        kind = _kind_of(path)
        name = open_set(workspace, set_name).name
    else:
        kind, name = record.generator, check_name(str(record.set["name"]))
    believed = record is None or record.believed
    spec = generator_spec(kind)
    if spec.safetensors_only and spec.marker_file:
        check_safetensors_folder(path, spec.marker_file)
    training = (record and record.training) or spec.config.from_preset("paper")
    return TrainConfig.build(
        generator=kind, set=name, training=training, folder=str(path), believed=believed
    )


def _kind_of(path: Path) -> str:
    """The generator in a folder without a record: by `generator.json`, or, in folders of earlier
    versions, by a file that no other generator has; raises UserError for any other folder."""
    if (path / GENERATOR_FILE).exists():
        about = read_json(path / GENERATOR_FILE)
        name = about.get("generator") if isinstance(about, dict) else None
        if not isinstance(name, str):
            raise UserError(f"{path / GENERATOR_FILE} does not name a generator; correct it.")
        return generator_spec(name).name
    specs = generator_specs().values()
    kind = next((s.name for s in specs if s.marker_file and (path / s.marker_file).exists()), None)
    if kind is None and (path / "model_index.json").exists():
        check_safetensors_folder(path, "model_index.json")
        raise UserError(
            f"{path} is a diffusers pipeline that doesn't say which class it makes; lay it as "
            "class-0 into a folder with a ddpm.json of ours."
        )
    if kind is None:
        known = "; ".join(f"{s.name}: {s.file_names}" for s in specs if s.file_names)
        raise UserError(
            f"{path} does not contain a generator: it has neither {GENERATOR_FILE} nor the files "
            f"of one ({known})."
        )
    return kind


class Record(BaseModel):
    """`trained-on.json`, which lies with a generator's weights."""

    generator: GeneratorName
    set: dict[str, Any]
    training: dict[str, Any] | None = None  # None where nobody knows
    believed: bool = False
    code: str | None = None  # the version it was trained with


def _read_record(folder: Path) -> Record | None:
    """What a generator's folder says it was trained on, checked; None where it says nothing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name the one with config.json and the weights.")
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = Record.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is not readable ({problem(error)}); remove it.") from error
    classes = record.set.get("classes")
    for label in classes if isinstance(classes, list) else ():
        if isinstance(label, str) and not is_label(label):
            raise UserError(f"{path}: class {label!r} cannot be a folder's name.")
    try:
        chosen = TrainingSet.from_json(record.set)
    except UserError as error:
        raise UserError(f"{path} is not readable: {error}") from error
    check_name(chosen.name)
    return record.model_copy(update={"set": chosen.to_json()})


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
            poses = _own_poses(run, dataset) if run.config["training"].get("poses") else None
            data = load_training_data(dataset, chosen, size, run.progress, poses)
            kind = generator_spec(config.generator).generator_class()
            made = kind.fit(config.training, data, run)
        with atomic_folder(target) as aside:
            made.save(aside)
            write_json(aside / GENERATOR_FILE, {"generator": config.generator, "version": 1})
            write_json(aside / RECORD, _new_record(config, chosen, run).model_dump(mode="json"))
        write_json(run.path / "classes.json", list(made.classes))
    return {
        "generator": config.generator,
        "set": chosen.name,
        "dataset": chosen.config.dataset,
        "classes": read_json(run.path / "classes.json"),
    }


def _new_record(config: TrainConfig, chosen: TrainingSet, run: RunDirectory) -> Record:
    code = run.record.code
    if config.folder:
        record = _read_record(Path(config.folder))
        code = record.code if record else None
    training = None if config.believed else config.training.model_dump(mode="json")
    return Record(
        generator=config.generator,
        set=chosen.to_json(),
        training=training,
        believed=config.believed,
        code=code,
    )


def _own_copy(workspace: Workspace, run: RunDirectory, config: TrainConfig) -> TrainingSet:
    """The training set as it was when the run began, kept with the run."""
    path = run.path / "set.json"
    if not path.exists():
        record = _read_record(Path(config.folder)) if config.folder else None
        if record is not None:
            seen = record.set
        elif config.continues:
            seen = read_json(_go_on(find_run(workspace, config.continues), run.path) / "set.json")
        else:
            seen = open_set(workspace, config.set).to_json()
        write_json(path, seen)
    return read_set(path)


def _own_poses(run: RunDirectory, dataset: Dataset) -> dict[str, str]:
    """{image id: pose} as it was when the run began, kept with the run; raises UserError where the
    dataset was not clustered."""
    path = run.path / "poses.json"
    if not path.exists():
        table = open_clustering(dataset).assignments
        write_json(path, dict(zip(table["image"], table["pose"], strict=True)))
    found: dict[str, str] = read_json(path)
    return found


def _go_on(parent: Path, path: Path) -> Path:
    """Put what `parent` logged up to its last checkpoint, and that, where this run finds them."""
    checkpoint = last_checkpoint(parent)
    if checkpoint is None:
        raise UserError(f"Run {parent.name} has no checkpoint to go on from.")
    step = _step_of(checkpoint)
    for picture in (parent / "previews").glob("[!.]*.png"):
        if int(picture.stem.rpartition("-")[2]) <= step:
            write_bytes(path / "previews" / picture.name, picture.read_bytes())
    write_bytes(path / "metrics.jsonl", (parent / "metrics.jsonl").read_bytes())
    write_bytes(path / "checkpoints" / checkpoint.name, checkpoint.read_bytes())
    return parent


def _step_of(checkpoint: Path) -> int:
    import torch  # in the worker only

    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return int(kept["state"]["step"])


def _take(folder: Path, kind: str, chosen: TrainingSet) -> Generator:
    """The generator in `folder`; raises UserError unless it makes classes of the training set."""
    made = generator_spec(kind).generator_class().load(folder)
    trained = {*made.classes, *made.classes_without_images, *made.single_image_classes}
    other = sorted(trained - set(chosen.classes))
    if other:
        raise UserError(
            f"The generator in {folder} makes {', '.join(other)[:200]}, which training set "
            f"{chosen.name} does not have ({', '.join(chosen.classes)})."
        )
    return made


def load_generator(view: RunView) -> Generator:
    """The generator that a finished training run made."""
    spec = generator_spec(view.config.get("generator", ""))
    return spec.generator_class().load(generator_folder(view))


def generator_folder(view: RunView) -> Path:
    folder = view.path / "result" / "generator"
    if view.kind != "train" or view.status != "done" or not folder.is_dir():
        raise UserError(f"Run {view.id} ({view.kind}, {view.status}) holds no trained generator.")
    return folder


def run_set(view: RunView) -> TrainingSet:
    """The training set that a run saw."""
    return read_set(view.path / "set.json")


def makes(view: RunView) -> list[str]:
    """The classes that a finished training's generator makes."""
    classes = view.result.get("classes")
    if isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes):
        return classes
    return list(run_set(view).classes)
