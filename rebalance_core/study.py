"""The `study` job: training set, poses, generators, samples, comparison and report in one run."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from rebalance_core.comparison.arms import Arm, generated_arms, without_unknown
from rebalance_core.comparison.cells import (
    check_arms,
    plan_additions,
    returned_plan,
    save_set_of_seed,
    synthetic_key,
)
from rebalance_core.comparison.config import (
    CLAIM_ARMS,
    MAX_SEEDS,
    PAPER_ARMS,
    ArmNames,
    CompareConfig,
    Names,
)
from rebalance_core.config import Config, Reference, Seed, Unique
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.datasets.source import BUILT_IN, ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_spec
from rebalance_core.generators.training import TrainConfig
from rebalance_core.poses.clustering import has_clustering, open_clustering
from rebalance_core.poses.config import PosesConfig
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import view_run
from rebalance_core.runs.start import record_run
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.sampling import SampleConfig
from rebalance_core.synthesis.synthetic_set import list_synthetic
from rebalance_core.system.files import read_json, write_json
from rebalance_core.training_sets.config import NO_SKEW, SetConfig
from rebalance_core.training_sets.load import check_validation_classes
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    make_subset,
    open_set,
    open_sets,
    withheld_images,
)
from rebalance_core.training_sets.skew import skewed_counts
from rebalance_core.training_sets.splits import SplitName
from rebalance_core.workspace import MAX_NAME_LENGTH, Workspace, free_name

SKEWED_RATIO = 2.0  # imbalance ratio from which `auto` imposes no skew
DEFAULT_SKEW = "step:10"  # imposed below that ratio
# Imposed on built-in datasets, so that enough images are withheld to give some back.
BUILT_IN_SKEW = "step:20"
QUICK_LIMIT = 600  # training images
SUFFIX_LENGTH = 4  # characters by which `free_name` may truncate a name to make room for a number
# Weight of a step in the progress bar, in proportion to its usual duration.
PROGRESS_WEIGHTS = {"import": 4, "poses": 6, "train": 25, "sample": 5, "compare": 35}


class StudyConfig(Config):
    """All steps on one dataset, each at the same preset."""

    dataset: Annotated[str, Reference("dataset", required=False)]  # built-in ones are imported
    preset: str = "quick"
    split: SplitName = "official"
    # none from an imbalance ratio of 2, else step:10; of a built-in dataset step:20
    skew: str = "auto"
    size: int | None = Field(default=None, ge=16, le=512)  # px; None: the preset's sizes
    seeds: Annotated[tuple[Seed, ...], Unique] = Field(
        default=(0,), min_length=1, max_length=MAX_SEEDS
    )
    fixed: bool = False  # one skew and one generator for all seeds, instead of one per seed
    arms: Annotated[tuple[str, ...], Names, ArmNames, Unique] = PAPER_ARMS

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"arms": CLAIM_ARMS, "seeds": (0, 1, 2), "fixed": True},
        "small": {"arms": CLAIM_ARMS, "seeds": (0, 1, 2)},
        "paper": {"seeds": (0, 1, 2), "fixed": True},
        "strong": {"arms": CLAIM_ARMS, "seeds": (0, 1, 2, 3, 4)},
    }


def check_study(workspace: Workspace, config: StudyConfig) -> None:
    """Raises UserError, before any work, for what is known to fail."""
    CompareConfig.from_preset(config.preset, set=config.dataset)
    if config.dataset not in BUILT_IN or config.dataset in list_datasets(workspace):
        counts = open_dataset(workspace, config.dataset).counts()
        if config.skew != "auto":
            skewed_counts(config.skew, counts["train"])
    check_arms(workspace, config.arms)


def study_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Execute each step as a child run in this process; finished steps are not repeated."""
    config = StudyConfig.build(**run.config)
    steps = _Steps(workspace, run)
    if config.dataset in BUILT_IN and config.dataset not in list_datasets(workspace):
        steps.run_once("import", ImportConfig(name=config.dataset, source=config.dataset))
    dataset = open_dataset(workspace, config.dataset)
    training_set = _training_set(workspace, dataset, config, steps)
    if not (has_clustering(dataset) and open_clustering(dataset).corrections):
        steps.run_once("poses", PosesConfig(dataset=dataset.name, set=training_set.name))
    redraw = not config.fixed and len(config.seeds) > 1
    compare = CompareConfig.from_preset(
        config.preset,
        set=training_set.name,
        seeds=config.seeds,
        arms=_arms(workspace, config, training_set),
        redraw=redraw,
    )
    if config.size is not None:
        classifier = compare.classifier.model_copy(update={"size": config.size})
        compare = compare.model_copy(update={"classifier": classifier})
    arms = dict.fromkeys(arm.images for arm in compare.parsed)
    generators = [str(name) for name in arms if name in generated_arms()]
    sets = (
        {seed: save_set_of_seed(workspace, training_set.name, seed) for seed in config.seeds}
        if redraw
        else {None: training_set}
    )
    for each in sets.values():  # before hours of training
        check_validation_classes(dataset, each)
    weight = PROGRESS_WEIGHTS["train"] + PROGRESS_WEIGHTS["sample"]
    steps.total += len(generators) * len(sets) * weight
    synthetic = {}
    for seed, each in sets.items():
        for name in generators:
            key = synthetic_key(name, seed)
            sizes = {} if config.size is None else {"size": config.size}
            synthetic[key] = _synthetic_set(workspace, steps, compare, each, name, seed, **sizes)
    comparison = steps.run_once("compare", compare.model_copy(update={"synthetic": synthetic}))
    result = view_run(workspace.runs / comparison).result
    return {"dataset": dataset.name, "steps": steps.ids, **result}


def _arms(workspace: Workspace, config: StudyConfig, training_set: TrainingSet) -> tuple[str, ...]:
    """The arms of a study; of those of a preset the ones that can be compared on the set."""
    if config.arms != StudyConfig.presets[config.preset].get("arms"):
        return config.arms
    withheld = withheld_images(workspace, training_set)
    arms = []
    for name in without_unknown(config.arms):
        if k := Arm.parse(name).returned:
            try:
                returned_plan(training_set, withheld, k)
            except UserError as error:
                print(f"Left out: {name}. {error}")
                continue
        arms.append(name)
    return tuple(arms)


def _synthetic_set(
    workspace: Workspace,
    steps: "_Steps",
    compare: CompareConfig,
    training_set: TrainingSet,
    generator: str,
    seed: int | None,
    **changes: int,
) -> str:
    """Train a generator on a training set and sample it; return the synthetic set's name.

    `changes`: of the preset's fields.
    """
    key = synthetic_key(generator, seed)
    trained_on = training_set
    if compare.preset == "paper" and generator_spec(generator).fixed_pose:
        trained_on = _one_pose(workspace, steps, training_set)
    training = TrainConfig.make(
        generator, trained_on.name, compare.preset, seed=seed or 0, **changes
    )
    train_run = steps.run_once("train", training, key)
    name = steps.name(f"{training_set.name}-{generator}", list_synthetic(workspace))
    plans = [plan_additions(compare, training_set, amount) for amount in compare.amounts]
    sampling = SampleConfig(
        run=train_run,
        name=name,
        count=max(count for plan in plans for count in plan.values()),
        classes=tuple(training_set.minority or training_set.classes),
        seed=seed or 0,
    )
    steps.run_once("sample", sampling, key)
    return name


def _one_pose(workspace: Workspace, steps: "_Steps", training_set: TrainingSet) -> TrainingSet:
    """The images of one pose of a training set: the most frequent one that every class has."""
    name = steps.name(
        f"{training_set.name}-pose", [*list_sets(workspace), *list_datasets(workspace)]
    )
    if name in list_sets(workspace):
        return open_set(workspace, name)
    dataset = open_dataset(workspace, training_set.config.dataset)
    return make_subset(workspace, name, training_set, (most_frequent_pose(dataset, training_set),))


def most_frequent_pose(dataset: Dataset, training_set: TrainingSet) -> str:
    """The pose of the most training images, of those that every class has.

    Raises UserError if there is none.
    """
    table = open_clustering(dataset).assignments
    in_set = table[table["image"].isin(training_set.train)]
    counts = in_set.groupby("pose")["class"].agg(["nunique", "size"])
    complete = counts[counts["nunique"] == len(training_set.classes)]
    if complete.empty:
        raise UserError(
            f"No pose of dataset {dataset.name} has images of every class in training set "
            f"{training_set.name}; cluster it into fewer poses, or choose a weaker skew."
        )
    return str(complete["size"].idxmax())


def _training_set(
    workspace: Workspace, dataset: Dataset, config: StudyConfig, steps: "_Steps"
) -> TrainingSet:
    """The training set `<dataset>-<preset>`; reuses one with the same config."""
    skew = config.skew
    if skew == "auto":
        ratio = open_set(workspace, dataset.name).ratio
        skew = NO_SKEW if ratio >= SKEWED_RATIO else DEFAULT_SKEW
        if dataset.manifest.source.get("source") in BUILT_IN:
            skew = BUILT_IN_SKEW
    limit = QUICK_LIMIT if config.preset == "quick" else None
    set_config = SetConfig(
        dataset=dataset.name,
        split=config.split,
        skew=skew,
        limit=limit,
        validation_skew="whole" if config.preset == "paper" else "skewed",
    )
    clean = "-clean" if config.split == "clean" else ""
    base = f"{dataset.name}{clean}-{config.preset}"
    training_sets, damaged = open_sets(workspace)
    for message in damaged.values():
        print(message)
    for each in training_sets:
        is_same = each.config == set_config and each.fingerprint == dataset.fingerprint
        if is_same and each.name.startswith(base[: MAX_NAME_LENGTH - SUFFIX_LENGTH]):
            return each
    existing = [*list_sets(workspace), *list_datasets(workspace)]
    return make_set(workspace, steps.name(base, existing), set_config)


class _Steps:
    """Executes steps as child runs in this process; `steps.json` records the run of each."""

    def __init__(self, workspace: Workspace, run: RunDirectory) -> None:
        self.workspace, self.run = workspace, run
        self.path = run.path / "steps.json"
        self.record = read_json(self.path) if self.path.exists() else {"runs": {}, "names": {}}
        self.done = 0.0  # weight of the finished steps
        self.total = sum(PROGRESS_WEIGHTS[kind] for kind in ("import", "poses", "compare"))

    @property
    def ids(self) -> dict[str, str]:
        """Run id of each step."""
        return dict(self.record["runs"])

    def name(self, base: str, existing: list[str]) -> str:
        """A free name that starts with `base`; the same one after a resume."""
        if base not in self.record["names"]:
            self.record["names"][base] = free_name(base, existing)
            write_json(self.path, self.record)
        return str(self.record["names"][base])

    def run_once(self, kind: str, config: Config, arm: str = "") -> str:
        """Execute one step unless it is done; return its run's id."""
        step = f"{kind} {arm}".strip()
        if step not in self.record["runs"]:
            name = f"{step} for {self.run.record.name}"
            child = record_run(self.workspace, config, name=name, parents=[self.run.id])
            self.record["runs"][step] = child.name
            write_json(self.path, self.record)
        path = self.workspace.runs / self.record["runs"][step]
        weight = PROGRESS_WEIGHTS[kind]
        if view_run(path).status != "done":
            (path / "cancel").unlink(missing_ok=True)

            def report_progress(fraction: float, stage: str) -> None:
                total_fraction = (self.done + weight * fraction) / self.total
                self.run.progress(total_fraction, f"{step}: {stage}")

            execute(self.workspace, RunDirectory(path, parent=self.run, listener=report_progress))
        self.done += weight
        return self.ids[step]
