"""The job that trains, continues or imports a generator, and loading of its result."""

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
RECORD_FILE = "trained-on.json"  # beside a generator's weights: what it was trained on, and how
ForeignSetRef = Annotated[str, Reference("set", required=False)]


class TrainConfig(Config):
    """The config of a training run: a generator, its training set and its own config."""

    generator: GeneratorName
    set: ForeignSetRef
    training: SerializeAsAny[Config]  # the generator's config; a guess if `believed`
    believed: bool = False  # the training set is assumed: the imported folder does not record it
    continues: RunRef | None = None  # the run whose last checkpoint this one continues from
    folder: str | None = None  # of a trained generator to import instead of training one

    @field_validator("training", mode="before")
    @classmethod
    def _build_training(cls, value: Any, info: ValidationInfo) -> Config:
        spec = generator_specs().get(info.data.get("generator", ""))
        if spec is not None and isinstance(value, spec.config):
            return value
        if spec is None or not isinstance(value, Mapping):
            raise ValueError("it is not a config of the generator")
        return spec.config.build(**value)

    @property
    def seed(self) -> int:
        seed: int = self.training.model_dump()["seed"]
        return seed

    @classmethod
    def make(cls, kind: str, set_name: str, preset: str, **changes: Any) -> "TrainConfig":
        """Build from a preset and `changes` of its fields; raises UserError for invalid values."""
        training = generator_spec(kind).config.from_preset(preset, **changes)
        return cls.build(generator=kind, set=set_name, training=training)


def check_training(workspace: Workspace, config: TrainConfig) -> None:
    """Raise UserError, before any work, if the training set does not exist.

    An imported generator may have been trained on a set of another workspace.
    """
    if config.folder is None:
        open_set(workspace, config.set)


def continuation(workspace: Workspace, run_id: str, **changes: Any) -> TrainConfig:
    """The config that continues run `run_id` from its last checkpoint, for instance for more epochs
    or at another lr.

    Its result equals that of training for the total number of epochs from the start. Raises
    UserError for a run that cannot be continued, and for fields that cannot change.
    """
    view = view_run(find_run(workspace, run_id))
    if view.kind != "train" or view.live:
        raise UserError(
            f"Run {view.id} ({view.kind}, {view.status}) is not a finished training run."
        )
    config = TrainConfig.build(**view.config)
    spec = generator_spec(config.generator)
    if not spec.continuable:
        reason = spec.not_continuable_reason
        raise UserError(f"A {config.generator} cannot be continued: {reason}.")
    if last_checkpoint(view.path) is None:
        raise UserError(f"Run {view.id} has no checkpoint to continue from.")
    fixed = [field for field in changes if field not in spec.continuable]
    if fixed:
        raise UserError(
            f"{', '.join(fixed)} cannot change when a run is continued; only "
            f"{', '.join(spec.continuable)} can."
        )
    old = config.training.model_dump(mode="json")
    length, other_length = ("steps", "epochs") if old["steps"] else ("epochs", "steps")
    if other_length in changes:
        raise UserError(f"The length of run {view.id} is set in {length}; pass {length}=…")
    training = spec.config.build(**{**old, **changes})
    new_length, old_length = getattr(training, length), old[length]
    if new_length < old_length or (view.status == "done" and new_length == old_length):
        more = "more than that" if view.status == "done" else "at least as many"
        raise UserError(f"Run {view.id} was set to {old_length} {length}; pass {more}.")
    return config.model_copy(update={"training": training, "continues": view.id})


def from_folder(workspace: Workspace, folder: str, set_name: str) -> TrainConfig:
    """The config that imports the trained generator in `folder`, as `save` wrote it.

    Its `trained-on.json` records what it was trained on; without that file, it is assumed to have
    been trained on `set_name` alone, and marked `believed`. Raises UserError for a folder that
    does not contain a generator, or whose record is damaged.
    """
    try:
        path = Path(folder).expanduser().resolve()
        record = _read_record(path)
    except (OSError, RuntimeError, ValueError) as error:  # too long, unknown ~user, a NUL byte
        raise UserError(f"{folder[:200]!r} is not a readable folder ({error}).") from error
    if record is None:
        kind = _identify_generator(path)
        name = open_set(workspace, set_name).name
    else:
        kind, name = record.generator, check_name(str(record.set["name"]))
    is_assumed = record is None or record.believed
    spec = generator_spec(kind)
    if spec.safetensors_only and spec.marker_file:
        check_safetensors_folder(path, spec.marker_file)
    training = (record and record.training) or spec.config.from_preset("paper")
    return TrainConfig.build(
        generator=kind, set=name, training=training, folder=str(path), believed=is_assumed
    )


def _identify_generator(path: Path) -> str:
    """The name of the generator in a folder without a record: by `generator.json` or, in folders of
    earlier versions, by its marker file. Raises UserError for any other folder."""
    if (path / GENERATOR_FILE).exists():
        content = read_json(path / GENERATOR_FILE)
        name = content.get("generator") if isinstance(content, dict) else None
        if not isinstance(name, str):
            raise UserError(f"{path / GENERATOR_FILE} does not name a generator; correct it.")
        return generator_spec(name).name
    specs = generator_specs().values()
    kind = next((s.name for s in specs if s.marker_file and (path / s.marker_file).exists()), None)
    if kind is None and (path / "model_index.json").exists():
        check_safetensors_folder(path, "model_index.json")
        raise UserError(
            f"{path} is a diffusers pipeline that does not record which class it generates; put it "
            "as class-0 into a folder with a ddpm.json of this project."
        )
    if kind is None:
        formats = "; ".join(f"{s.name}: {s.file_names}" for s in specs if s.file_names)
        raise UserError(
            f"{path} does not contain a generator: it has neither {GENERATOR_FILE} nor the files "
            f"of one ({formats})."
        )
    return kind


class TrainingRecord(BaseModel):
    """The contents of `trained-on.json`, beside a generator's weights."""

    generator: GeneratorName
    set: dict[str, Any]  # the training set
    training: dict[str, Any] | None = None  # the generator's config, if known
    believed: bool = False  # the training set is assumed
    code: str | None = None  # the version of this project that trained it


def _read_record(folder: Path) -> TrainingRecord | None:
    """The checked record in a generator's folder, None if there is none; raises UserError."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; choose the one with config.json and the weights."
        )
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        record = TrainingRecord.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is not readable ({problem(error)}); remove it.") from error
    classes = record.set.get("classes")
    for label in classes if isinstance(classes, list) else ():
        if isinstance(label, str) and not is_label(label):
            raise UserError(f"{path}: class {label!r} is not a valid folder name.")
    try:
        training_set = TrainingSet.from_json(record.set)
    except UserError as error:
        raise UserError(f"{path} is not readable: {error}") from error
    check_name(training_set.name)
    return record.model_copy(update={"set": training_set.to_json()})


def train_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Leaves the generator, its name and its record in `result/generator`."""
    config = TrainConfig.build(**run.config)
    training_set = _run_training_set(workspace, run, config)
    target = run.path / "result" / "generator"
    if not target.exists():
        if config.folder:
            generator = _load_external(Path(config.folder), config.generator, training_set)
        else:
            dataset = open_dataset(workspace, training_set.config.dataset)
            size = run.config["training"]["size"]
            poses = None
            if run.config["training"].get("poses"):
                poses, fitted_on = _run_poses(run, dataset)
                training_set = training_set.model_copy(update={"clustered": fitted_on})
            data = load_training_data(dataset, training_set, size, run.progress, poses)
            generator_class = generator_spec(config.generator).generator_class()
            generator = generator_class.fit(config.training, data, run)
        with atomic_folder(target) as folder:
            generator.save(folder)
            write_json(folder / GENERATOR_FILE, {"generator": config.generator, "version": 1})
            record = _new_record(config, training_set, run)
            write_json(folder / RECORD_FILE, record.model_dump(mode="json"))
        write_json(run.path / "classes.json", list(generator.classes))
    return {
        "generator": config.generator,
        "set": training_set.name,
        "dataset": training_set.config.dataset,
        "classes": read_json(run.path / "classes.json"),
    }


def _new_record(
    config: TrainConfig, training_set: TrainingSet, run: RunDirectory
) -> TrainingRecord:
    code = run.record.code
    if config.folder:
        record = _read_record(Path(config.folder))
        code = record.code if record else None
    training = None if config.believed else config.training.model_dump(mode="json")
    return TrainingRecord(
        generator=config.generator,
        set=training_set.to_json(),
        training=training,
        believed=config.believed,
        code=code,
    )


def _run_training_set(workspace: Workspace, run: RunDirectory, config: TrainConfig) -> TrainingSet:
    """The training set as it was when the run started, stored with the run."""
    path = run.path / "set.json"
    if not path.exists():
        record = _read_record(Path(config.folder)) if config.folder else None
        if record is not None:
            values = record.set
        elif config.continues:
            parent = find_run(workspace, config.continues)
            _copy_parent_state(parent, run.path)
            values = read_json(parent / "set.json")
        else:
            values = open_set(workspace, config.set).to_json()
        write_json(path, values)
    return read_set(path)


def _run_poses(run: RunDirectory, dataset: Dataset) -> tuple[dict[str, str], tuple[str, ...]]:
    """{image id: pose} and the ids that the clustering was fitted on, as when the run started.

    Stored with the run; raises UserError if the dataset is not clustered.
    """
    path, fitted_path = run.path / "poses.json", run.path / "poses-fitted-on.json"
    if not path.exists():
        clustering = open_clustering(dataset)
        table = clustering.assignments
        write_json(fitted_path, clustering.fitted_on)
        write_json(path, dict(zip(table["image"], table["pose"], strict=True)))
    fitted_on = read_json(fitted_path) if fitted_path.exists() else ()  # runs up to 0.1
    return read_json(path), tuple(fitted_on)


def _copy_parent_state(parent: Path, path: Path) -> None:
    """Copy the parent's last checkpoint, and its metrics and previews up to that step."""
    checkpoint = last_checkpoint(parent)
    if checkpoint is None:
        raise UserError(f"Run {parent.name} has no checkpoint to continue from.")
    step = _checkpoint_step(checkpoint)
    for preview in (parent / "previews").glob("[!.]*.png"):
        if int(preview.stem.rpartition("-")[2]) <= step:
            write_bytes(path / "previews" / preview.name, preview.read_bytes())
    write_bytes(path / "metrics.jsonl", (parent / "metrics.jsonl").read_bytes())
    write_bytes(path / "checkpoints" / checkpoint.name, checkpoint.read_bytes())


def _checkpoint_step(checkpoint: Path) -> int:
    import torch  # in the worker only

    content = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return int(content["state"]["step"])


def _load_external(folder: Path, kind: str, training_set: TrainingSet) -> Generator:
    """The generator in `folder`; raises UserError if it has a class that the training set lacks."""
    generator = generator_spec(kind).generator_class().load(folder)
    classes = {
        *generator.classes,
        *generator.classes_without_images,
        *generator.single_image_classes,
    }
    foreign = sorted(classes - set(training_set.classes))
    if foreign:
        raise UserError(
            f"The generator in {folder} generates {', '.join(foreign)[:200]}, which training set "
            f"{training_set.name} does not have ({', '.join(training_set.classes)})."
        )
    return generator


def load_generator(view: RunView) -> Generator:
    """Load the generator of a finished training run; raises UserError for any other run."""
    spec = generator_spec(view.config.get("generator", ""))
    return spec.generator_class().load(generator_folder(view))


def generator_folder(view: RunView) -> Path:
    """The folder of a finished training run's generator; raises UserError for any other run."""
    folder = view.path / "result" / "generator"
    if view.kind != "train" or view.status != "done" or not folder.is_dir():
        raise UserError(
            f"Run {view.id} ({view.kind}, {view.status}) does not contain a trained generator."
        )
    return folder


def run_set(view: RunView) -> TrainingSet:
    """The training set of a run."""
    return read_set(view.path / "set.json")


def generated_classes(view: RunView) -> list[str]:
    """The classes that the generator of a finished training run can generate."""
    classes = view.result.get("classes")
    if isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes):
        return classes
    return list(run_set(view).classes)
