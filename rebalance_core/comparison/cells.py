"""What a comparison will train, resolved before any work: cells, and what each stands on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebalance_core import __version__
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.measures import measures
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.amounts import capped, check_amount, resolve_amount
from rebalance_core.comparison.arms import Arm, descriptions, generated_arms, variant_name
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.records import read_cell
from rebalance_core.datasets.dataset import list_datasets, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.weights import weights_facts
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    list_synthetic,
    open_synthetic,
    synthetic_for,
)
from rebalance_core.system.files import digest
from rebalance_core.training_sets.load import (
    check_validation_classes,
    missing_class_notes,
    missing_classes,
)
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    open_set,
    resolve_set,
)
from rebalance_core.workspace import Workspace


@dataclass(frozen=True)
class Ground:
    """What the cells of one seed are trained and tested on."""

    chosen: TrainingSet
    sets: dict[str, SyntheticSet]  # {images of an arm: synthetic set}
    absent: tuple[str, ...] = ()  # classes without a test image: not in any average


def make_ground(workspace: Workspace, chosen: TrainingSet, sets: dict[str, SyntheticSet]) -> Ground:
    """Raises UserError if validation lacks a class."""
    dataset = open_dataset(workspace, chosen.config.dataset)
    check_validation_classes(dataset, chosen)
    return Ground(chosen, sets, tuple(missing_classes(dataset, chosen, "test")))


@dataclass(frozen=True)
class Cell:
    """One arm with one amount under one schedule at one seed."""

    arm: Arm
    schedule: Schedule
    amount: str | None  # None: no images are added
    seed: int
    synthetic: str | None  # name of the synthetic set
    plan: dict[str, int]  # {class: images added}
    base: str  # hash of training set, synthetic set's provenance and classifier config

    @property
    def key(self) -> str:
        """The hash of all that the cell's numbers depend on; a finished cell is found by it."""
        return digest([str(self.arm), str(self.schedule), self.seed, self.plan, self.base])

    @property
    def told(self) -> dict[str, Any]:
        """What stands in each of its lines and in its file."""
        return {
            "cell": self.key,
            "arm": str(self.arm),
            "amount": self.amount,
            "schedule": str(self.schedule),
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        return variant_name(self.told)


def planned(config: CompareConfig, chosen: TrainingSet, amount: str) -> dict[str, int]:
    """{class: images added}; in a balanced set, which has no minority, every class counts."""
    minority = chosen.minority or list(chosen.classes)
    plan = capped(resolve_amount(amount, chosen.counts, minority), config.cap)
    if not any(plan.values()):
        raise UserError(
            f"Amount {amount} adds no image to training set {chosen.name}, whose classes "
            "are balanced; impose a skew, or name a number of images."
        )
    return plan


def check_compare(workspace: Workspace, config: CompareConfig) -> list[Cell]:
    """What a comparison will train; raises UserError for what cannot be done."""
    return resolve_cells(config, find_grounds(workspace, config), pretrained(workspace, config))


def find_grounds(workspace: Workspace, config: CompareConfig) -> dict[int, Ground]:
    """{seed: what its cells stand on}, every synthetic set checked against its training set."""
    if config.redraw:
        chosen = {seed: set_of_seed(workspace, config.set, seed) for seed in config.seeds}
        return {
            s: make_ground(workspace, c, find_sets(workspace, config, c, s))
            for s, c in chosen.items()
        }
    base = open_set(workspace, config.set)
    ground = make_ground(workspace, base, find_sets(workspace, config, base))
    return dict.fromkeys(config.seeds, ground)


def set_of_seed(workspace: Workspace, name: str, seed: int) -> TrainingSet:
    """The training set that differs from `name` in its seed alone: `name` itself, or
    `<name>-seed<n>`, saved or not."""
    base = open_set(workspace, name)
    if base.config.seed == seed:
        return base
    config = base.config.model_copy(update={"seed": seed})
    own = f"{name}-seed{seed}"
    if own not in list_sets(workspace):
        return resolve_set(workspace, own, config)
    there = open_set(workspace, own)
    if there.config != config:
        raise UserError(
            f"Training set {own} is not {name} drawn with seed {seed}; remove or rename it."
        )
    return there


def save_set_of_seed(workspace: Workspace, name: str, seed: int) -> TrainingSet:
    """`set_of_seed`, there for generators to be trained on."""
    drawn = set_of_seed(workspace, name, seed)
    if drawn.name in [*list_sets(workspace), *list_datasets(workspace)]:
        return drawn
    return make_set(workspace, drawn.name, drawn.config)


def plan_notes(workspace: Workspace, config: CompareConfig) -> list[str]:
    """The classes that parts of the training sets lack, with redraw for each seed."""
    base = open_set(workspace, config.set)
    dataset = open_dataset(workspace, base.config.dataset)
    if not config.redraw:
        return missing_class_notes(dataset, base)
    drawn = {seed: set_of_seed(workspace, config.set, seed) for seed in config.seeds}
    notes = {seed: missing_class_notes(dataset, own) for seed, own in drawn.items()}
    return [f"Seed {seed}: {note}" for seed, found in notes.items() for note in found]


def find_sets(
    workspace: Workspace, config: CompareConfig, chosen: TrainingSet, seed: int | None = None
) -> dict[str, SyntheticSet]:
    """{images of an arm: synthetic set} for the arms that add some; `seed` where each has its
    own."""
    check_arms(workspace, config.arms, tuple(config.synthetic))
    found: dict[str, SyntheticSet] = {}
    for images in dict.fromkeys(arm.images for arm in config.parsed if arm.images):
        named = config.synthetic.get(of_seed(images, seed), config.synthetic.get(images))
        if named is None and images in generated_arms():
            found[images] = synthetic_for(workspace, chosen, images)
            continue
        found[images] = open_synthetic(workspace, named or images)
        found[images].check_fits(chosen)
    channels = open_dataset(workspace, chosen.config.dataset).channels if found else 0
    for each in found.values():
        each.check_images(channels)
    return found


def check_arms(workspace: Workspace, arms: Sequence[str], named: Sequence[str] = ()) -> None:
    """Raises UserError for an arm whose images are neither a generator's nor a synthetic set;
    `named` are those for which a set was named."""
    known = {*generated_arms(), *named, *list_synthetic(workspace)}
    for images in (Arm.parse(arm).images for arm in arms):
        if images is not None and images not in known:
            raise UserError(
                f"There is no arm and no synthetic set {images!r}; arms are "
                f"{', '.join(descriptions())}, or the name of a synthetic set, joined by +."
            )


def of_seed(images: str, seed: int | None) -> str:
    """The key in `synthetic` of an arm's images, or of those that one seed alone takes."""
    return images if seed is None else f"{images}, seed {seed}"


def pretrained(workspace: Workspace, config: CompareConfig) -> str | None:
    """SHA-256 of the ImageNet weights that the classifier starts from; None: a fresh one."""
    classifier = config.classifier
    if classifier.pretrained == "no" or classifier.network not in ("resnet18", "vgg16"):
        return None
    try:
        return weights_facts(workspace, classifier.network)["sha256"]  # type: ignore[arg-type]
    except UserError:
        return None


def resolve_cells(
    config: CompareConfig, grounds: Mapping[int, Ground], weights: str | None
) -> list[Cell]:
    """Every cell, seeds outermost; an arm without images once a seed. Raises UserError before any
    work."""
    schedules = [Schedule.parse(text) for text in config.schedules]
    shown = [schedule.epochs(config.classifier.epochs) for schedule in schedules]
    if len(set(shown)) != len(shown):
        raise UserError(
            f"Two of the schedules {', '.join(config.schedules)} are the same over "
            f"{config.classifier.epochs} epochs; leave one out or train longer."
        )
    cells: list[Cell] = []
    for seed in config.seeds:
        cells += _cells_of_seed(config, grounds[seed], schedules, seed, weights)
    return cells


def _cells_of_seed(
    config: CompareConfig, ground: Ground, schedules: list[Schedule], seed: int, weights: str | None
) -> list[Cell]:
    chosen = ground.chosen
    empty = [c for c, n in chosen.counts.items() if not n]
    if empty:
        raise UserError(
            f"Training set {chosen.name} holds no image of {', '.join(empty)}; a classifier cannot "
            "learn it. Make the set anew with `sets make`."
        )
    shared: list[Any] = [_without_name(chosen), _hashed(config.classifier, weights), __version__]
    if ground.absent:  # cells of before averaged over these too
        shared.append({"absent": ground.absent})
    cells = []
    for arm in config.parsed:
        if arm.images is None:
            cells.append(Cell(arm, Schedule("always"), None, seed, None, {}, digest(shared)))
            continue
        found = ground.sets[arm.images]
        base = digest([*shared, found.provenance.to_json()])
        for amount in config.amounts:
            plan = planned(config, chosen, amount)
            check_amount(plan, found.counts, found.name)
            cells += [Cell(arm, s, amount, seed, found.name, plan, base) for s in schedules]
    return cells


def _without_name(chosen: TrainingSet) -> dict[str, Any]:
    return {k: v for k, v in chosen.to_json().items() if k != "name"}


def _hashed(config: ClassifierConfig, weights: str | None) -> dict[str, Any]:
    return config.model_dump(mode="json") | {"pretrained": weights}


def find_finished(workspace: Workspace, key: str) -> Path | None:
    """A cell's file in any comparison of the workspace; a damaged one counts as not there."""
    paths = workspace.runs.glob(f"[!.]*/result/cells/{key}.json")
    return next((path for path in paths if is_finished(path, key)), None)


def is_finished(path: Path, key: str) -> bool:
    """Whether the file is there and holds the whole result of that cell, every measure too."""
    try:
        cell = read_cell(path)
    except UserError:
        return False
    return bool(cell["cell"] == key and measures().keys() <= cell["best"]["test"].keys())
