"""The whole path in one job: dataset, set, poses, generators, samples, comparison, report."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from rebalance_core.comparison.arms import generated_arms
from rebalance_core.comparison.cells import (
    check_arms,
    plan_additions,
    save_set_of_seed,
    synthetic_key,
)
from rebalance_core.comparison.config import DEFAULT_ARMS, ArmNames, CompareConfig, Names
from rebalance_core.config import Config, Reference, Seed, Unique
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.datasets.source import BUILT_IN, ImportConfig
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
    open_set,
    open_sets,
)
from rebalance_core.training_sets.skew import skewed_counts
from rebalance_core.training_sets.splits import SplitName
from rebalance_core.workspace import MAX_NAME_LENGTH, Workspace, free_name

SKEWED_FROM = 2.0  # imbalance ratio from which a dataset counts as skewed already
STEP = "step:10"  # imposed on one that isn't
QUICK_LIMIT = 600  # training images
NUMBER = 4  # characters that a number may add to a name; `free_name` cuts a long one to make room
# Share of the whole time a step takes, for the progress bar alone.
WEIGHTS = {"import": 4, "poses": 6, "train": 25, "sample": 5, "compare": 35}


class StudyConfig(Config):
    """`study DATASET`: everything by preset."""

    dataset: Annotated[str, Reference("dataset", required=False)]  # built-in ones are imported
    preset: str = "quick"
    split: SplitName = "official"
    skew: str = "auto"  # as it is where the classes are skewed already, else step:10
    seeds: Annotated[tuple[Seed, ...], Unique] = Field(default=(0,), min_length=1)
    fixed: bool = False  # one skew and one generator for all seeds, instead of new ones for each
    arms: Annotated[tuple[str, ...], Names, ArmNames, Unique] = DEFAULT_ARMS


def check_study(workspace: Workspace, config: StudyConfig) -> None:
    """Raises UserError, before any work, for what is known to fail."""
    CompareConfig.from_preset(config.preset, set=config.dataset)
    if config.dataset not in BUILT_IN or config.dataset in list_datasets(workspace):
        counts = open_dataset(workspace, config.dataset).counts()
        if config.skew != "auto":
            skewed_counts(config.skew, counts["train"])
    check_arms(workspace, config.arms)


def study_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    """Each step is a run of its own, executed here; what is finished is not done again."""
    config = StudyConfig.build(**run.config)
    steps = _Steps(workspace, run)
    if config.dataset in BUILT_IN and config.dataset not in list_datasets(workspace):
        steps.child("import", ImportConfig(name=config.dataset, source=config.dataset))
    dataset = open_dataset(workspace, config.dataset)
    chosen = _training_set(workspace, dataset, config, steps)
    if not (has_clustering(dataset) and open_clustering(dataset).corrections):  # by hand: keep
        steps.child("poses", PosesConfig(dataset=dataset.name))
    redraw = not config.fixed and len(config.seeds) > 1
    compare = CompareConfig.from_preset(
        config.preset, set=chosen.name, seeds=config.seeds, arms=config.arms, redraw=redraw
    )
    kinds = [k for k in dict.fromkeys(a.images for a in compare.parsed) if k in generated_arms()]
    drawn = config.seeds if redraw else (None,)
    steps.total += len(kinds) * len(drawn) * (WEIGHTS["train"] + WEIGHTS["sample"])
    sets = {s: chosen if s is None else save_set_of_seed(workspace, chosen.name, s) for s in drawn}
    for own in sets.values():  # before hours of training
        check_validation_classes(dataset, own)
    synthetic = {}
    for seed, own in sets.items():
        for kind in kinds:
            name = _images(workspace, steps, config.preset, compare, own, str(kind), seed)
            synthetic[synthetic_key(str(kind), seed)] = name
    compared = steps.child("compare", compare.model_copy(update={"synthetic": synthetic}))
    result = view_run(workspace.runs / compared).result
    return {"dataset": dataset.name, "steps": steps.ids, **result}


def _images(
    workspace: Workspace,
    steps: "_Steps",
    preset: str,
    compare: CompareConfig,
    chosen: TrainingSet,
    kind: str,
    seed: int | None,
) -> str:
    """Train a generator on a training set and sample it; the synthetic set's name."""
    which = synthetic_key(kind, seed)
    trained = steps.child(
        "train", TrainConfig.make(kind, chosen.name, preset, seed=seed or 0), which
    )
    name = steps.name(f"{chosen.name}-{kind}", list_synthetic(workspace))
    most = max(max(plan_additions(compare, chosen, amount).values()) for amount in compare.amounts)
    minority = tuple(chosen.minority or chosen.classes)
    sample = SampleConfig(run=trained, name=name, count=most, classes=minority, seed=seed or 0)
    steps.child("sample", sample, which)
    return name


def _training_set(
    workspace: Workspace, dataset: Dataset, config: StudyConfig, steps: "_Steps"
) -> TrainingSet:
    """`<dataset>-<preset>`, made unless one of just this config is there."""
    skew = config.skew
    if skew == "auto":
        skew = NO_SKEW if open_set(workspace, dataset.name).ratio >= SKEWED_FROM else STEP
    limit = QUICK_LIMIT if config.preset == "quick" else None
    wanted = SetConfig(dataset=dataset.name, split=config.split, skew=skew, limit=limit)
    clean = "-clean" if config.split == "clean" else ""
    base = f"{dataset.name}{clean}-{config.preset}"
    found, damaged = open_sets(workspace)
    for told in damaged.values():
        print(told)
    for there in found:
        same = there.config == wanted and there.fingerprint == dataset.fingerprint
        if same and there.name.startswith(base[: MAX_NAME_LENGTH - NUMBER]):
            return there
    taken = [*list_sets(workspace), *list_datasets(workspace)]
    return make_set(workspace, steps.name(base, taken), wanted)


class _Steps:
    """Runs the steps in this process, each a child run; `steps.json` keeps which run did which."""

    def __init__(self, workspace: Workspace, run: RunDirectory) -> None:
        self.workspace, self.run = workspace, run
        self.path = run.path / "steps.json"
        self.kept = read_json(self.path) if self.path.exists() else {"runs": {}, "names": {}}
        self.done = 0.0  # weight of the finished steps
        self.total = sum(WEIGHTS[kind] for kind in ("import", "poses", "compare"))

    @property
    def ids(self) -> dict[str, str]:
        return dict(self.kept["runs"])

    def name(self, base: str, taken: list[str]) -> str:
        """A free name that starts with `base`; the same again after a resume."""
        if base not in self.kept["names"]:
            self.kept["names"][base] = free_name(base, taken)
            write_json(self.path, self.kept)
        return str(self.kept["names"][base])

    def child(self, kind: str, config: Config, arm: str = "") -> str:
        """Execute one step unless it is done; returns its run's id."""
        step = f"{kind} {arm}".strip()
        if step not in self.kept["runs"]:
            name = f"{step} for {self.run.record.name}"
            made = record_run(self.workspace, config, name=name, parents=[self.run.id])
            self.kept["runs"][step] = made.name
            write_json(self.path, self.kept)
        path = self.workspace.runs / self.kept["runs"][step]
        weight = WEIGHTS[kind]
        if view_run(path).status != "done":
            (path / "cancel").unlink(missing_ok=True)

            def tell(fraction: float, stage: str) -> None:
                whole = (self.done + weight * fraction) / self.total
                self.run.progress(whole, f"{step}: {stage}")

            execute(self.workspace, RunDirectory(path, parent=self.run, listener=tell))
        self.done += weight
        return self.ids[step]
