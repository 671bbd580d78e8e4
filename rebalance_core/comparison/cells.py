"""The cells of a comparison and their inputs, resolved before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rebalance_core import __version__
from rebalance_core.classifiers.config import ClassifierConfig
from rebalance_core.classifiers.measures import measures
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.amounts import cap_plan, check_amount, resolve_amount
from rebalance_core.comparison.arms import (
    PLACEBO,
    Arm,
    descriptions,
    generated_arms,
    variant_name,
    without_unknown,
)
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.comparison.records import CellRecord, read_cell
from rebalance_core.datasets.dataset import Dataset, list_datasets, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.weights import weights_metadata
from rebalance_core.synthesis.synthetic_set import (
    SyntheticSet,
    list_synthetic,
    newest_synthetic,
    open_synthetic,
)
from rebalance_core.system.files import digest
from rebalance_core.training_sets.load import check_validation_classes, missing_classes, set_notes
from rebalance_core.training_sets.resolve import (
    TrainingSet,
    list_sets,
    make_set,
    open_set,
    resolve_set,
    withheld_images,
)
from rebalance_core.workspace import Workspace


@dataclass(frozen=True)
class CellInputs:
    """Training set and synthetic sets of the cells of one seed."""

    training_set: TrainingSet
    synthetic: dict[str, SyntheticSet]  # {images of an arm: synthetic set}
    absent: tuple[str, ...] = ()  # classes without a test image, excluded from averages
    # {class: training images that the skew withheld}, for arms that give some back
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make_inputs(
    workspace: Workspace,
    config: CompareConfig,
    training_set: TrainingSet,
    synthetic: dict[str, SyntheticSet],
) -> CellInputs:
    """Build the inputs of one seed's cells; raises UserError if validation lacks a class."""
    dataset = open_dataset(workspace, training_set.config.dataset)
    check_validation_classes(dataset, training_set)
    if dataset.manifest.symmetries == "none":
        for arm in config.parsed:
            if arm.recipe.views == "mirrored":
                raise UserError(
                    f"Arm {arm} averages over mirror images, which are other pictures in dataset "
                    f"{dataset.name} (symmetries: none); leave it out."
                )
    gives_back = any(arm.returned for arm in config.parsed)
    return CellInputs(
        training_set,
        synthetic,
        tuple(missing_classes(dataset, training_set, "test")),
        withheld_images(workspace, training_set) if gives_back else {},
    )


@dataclass(frozen=True)
class Cell:
    """One classifier to train: an arm with an amount and a schedule at one seed."""

    arm: Arm
    schedule: Schedule
    amount: str | None  # None: no images are added
    seed: int
    synthetic: str | None  # name of the synthetic set
    plan: dict[str, int]  # {class: images added}, synthetic or given back
    base: str  # hash of training set, synthetic set's provenance and classifier config

    @property
    def key(self) -> str:
        """Hash of everything that the results depend on; identifies the finished cell."""
        return digest([str(self.arm), str(self.schedule), self.seed, self.plan, self.base])

    @property
    def record(self) -> dict[str, Any]:
        """The fields of a `CellIdentity`, contained in each metrics line and in the cell's file."""
        return {
            "cell": self.key,
            "arm": str(self.arm),
            "amount": self.amount,
            "schedule": str(self.schedule),
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        return variant_name(str(self.arm), self.amount, str(self.schedule))


def default_arms(
    workspace: Workspace, training_set: TrainingSet, preset: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arms of a preset that can be compared on a set, and {arm left out: reason}.

    Generators with images for the set take part, whether the preset names them or not.
    """
    config = CompareConfig.from_preset(preset, set=training_set.name)
    chosen: list[str] = []
    left_out: dict[str, str] = {}
    for name in dict.fromkeys([*without_unknown(config.arms), *generated_arms()]):
        try:
            _check_default(workspace, config, training_set, Arm.parse(name))
        except UserError as error:
            if name in config.arms or has_images(workspace, training_set, name):
                left_out[name] = str(error)
        else:
            chosen.append(name)
    return tuple(chosen), left_out


def has_images(workspace: Workspace, training_set: TrainingSet, generator: str) -> bool:
    """Whether there is a synthetic set of a generator that fits the training set."""
    try:
        newest_synthetic(workspace, training_set, generator)
    except UserError:
        return False
    return True


def _check_default(
    workspace: Workspace, config: CompareConfig, training_set: TrainingSet, arm: Arm
) -> None:
    """Raise UserError if the images that an arm adds are missing or too few."""
    if arm.images is not None:
        newest = newest_synthetic(workspace, training_set, arm.images)
        for amount in config.amounts:
            plan = plan_additions(config, training_set, amount)
            check_amount(plan, newest.counts, newest.name)
    if arm.returned:
        returned_plan(training_set, withheld_images(workspace, training_set), arm.returned)
    if arm.control == PLACEBO:
        for amount in config.amounts:
            plan_additions(config, training_set, amount)


def plan_additions(config: CompareConfig, training_set: TrainingSet, amount: str) -> dict[str, int]:
    """{class: images to add}; for a balanced set, which has no minority, of every class."""
    minority = training_set.minority or list(training_set.classes)
    plan = cap_plan(resolve_amount(amount, training_set.counts, minority), config.cap)
    if not any(plan.values()):
        raise UserError(
            f"Amount {amount} adds no image to training set {training_set.name}, whose classes "
            "are balanced; impose a skew, or give a number of images."
        )
    return plan


def returned_plan(
    training_set: TrainingSet, withheld: Mapping[str, Sequence[str]], k: int
) -> dict[str, int]:
    """{minority class: `withheld` images to give back}, k times its training images.

    Raises UserError if there are fewer.
    """
    plan = {c: k * training_set.counts[c] for c in training_set.minority}
    counts = {c: len(withheld.get(c, ())) for c in plan}
    if missing := [f"{c}: {counts[c]} of {n}" for c, n in plan.items() if counts[c] < n]:
        raise UserError(
            f"Arm returned:{k} gives back more images than were withheld from training set "
            f"{training_set.name} ({'; '.join(missing)}); choose a smaller number or a stronger "
            "skew."
        )
    if not plan:
        raise UserError(
            f"Training set {training_set.name} has no rare class to give images back to; impose a "
            "skew."
        )
    return plan


def check_compare(workspace: Workspace, config: CompareConfig) -> list[Cell]:
    """Resolve the cells of a comparison; raises UserError if it cannot be run."""
    inputs = resolve_inputs(workspace, config)
    if config.external is not None:
        open_external(workspace, config.external, inputs[config.seeds[0]].training_set)
    cells = resolve_cells(config, inputs, pretrained_hash(workspace, config))
    names = dict.fromkeys(name for cell in cells for name in (str(cell.arm), cell.label))
    for field_name in ("primary", "against"):
        value = getattr(config, field_name)
        if value is not None and value not in names:
            raise UserError(
                f"{field_name}={value!r}: it is not compared; name one of {', '.join(names)}."
            )
    return cells


def open_external(workspace: Workspace, name: str, training_set: TrainingSet) -> Dataset:
    """The external dataset; raises UserError unless it is another one with the same classes."""
    dataset, own = (open_dataset(workspace, n) for n in (name, training_set.config.dataset))
    if dataset.fingerprint == own.fingerprint:
        raise UserError(f"{name} is the dataset that is compared on; name another one.")
    if dataset.classes != own.classes:
        raise UserError(
            f"Dataset {name} has the classes {', '.join(dataset.classes)}, not those of {own.name} "
            f"({', '.join(own.classes)}); evaluate on one with the same names."
        )
    if dataset.channels != own.channels:
        raise UserError(
            f"Dataset {name} has {dataset.channels} channel(s), {own.name} {own.channels}; "
            "evaluate on one with as many."
        )
    shared = len(set(dataset.catalogue["sha256"]) & set(own.catalogue["sha256"]))
    if shared:
        raise UserError(
            f"{shared} images of {name} are also in {own.name}, byte for byte; evaluate on a "
            "dataset of other images."
        )
    return dataset


def resolve_inputs(workspace: Workspace, config: CompareConfig) -> dict[int, CellInputs]:
    """{seed: inputs of its cells}, with every synthetic set checked against its training set."""
    if config.repeat_splits and not config.redraw:
        raise UserError("Repeated splits need --redraw: each seed draws its own images.")
    if config.redraw:
        draws = _draws(workspace, config)
        draws = {seed: drawn.with_test_part(config.test_part) for seed, drawn in draws.items()}
        return {
            seed: make_inputs(
                workspace, config, drawn, resolve_synthetic(workspace, config, drawn, seed)
            )
            for seed, drawn in draws.items()
        }
    base = open_set(workspace, config.set).with_test_part(config.test_part)
    shared = make_inputs(workspace, config, base, resolve_synthetic(workspace, config, base))
    return dict.fromkeys(config.seeds, shared)


def _draws(workspace: Workspace, config: CompareConfig) -> dict[int, TrainingSet]:
    """{seed: its training set}, of a comparison that redraws."""
    return {
        seed: set_of_seed(workspace, config.set, seed, new_test=config.repeat_splits)
        for seed in config.seeds
    }


def set_of_seed(
    workspace: Workspace, name: str, seed: int, *, new_test: bool = False
) -> TrainingSet:
    """The training set that differs from `name` only in its seed.

    This is `name` itself or `<name>-seed<n>`, which need not be saved; with `new_test` its test
    images are drawn by the seed too (`<name>-split<n>`). Raises UserError if another set has that
    name, or if the dataset's own test split cannot be drawn again.
    """
    base = open_set(workspace, name)
    if new_test:
        _check_test_can_be_drawn(workspace, base)
    changes = {"seed": seed, "test_seed": seed if new_test else base.config.test_seed}
    config = base.config.model_copy(update=changes)
    if config == base.config:
        return base
    drawn_name = f"{name}-{'split' if new_test else 'seed'}{seed}"
    if drawn_name not in list_sets(workspace):
        return resolve_set(workspace, drawn_name, config)
    saved = open_set(workspace, drawn_name)
    # sets of versions up to 0.1 drew their test images by the seed
    if saved.config.model_copy(update={"test_seed": config.test_seed}) != config:
        raise UserError(
            f"Training set {drawn_name} is not {name} drawn with seed {seed}; remove or rename it."
        )
    return saved


def _check_test_can_be_drawn(workspace: Workspace, training_set: TrainingSet) -> None:
    dataset = open_dataset(workspace, training_set.config.dataset)
    if "test" in dataset.counts():
        raise UserError(
            f"Dataset {dataset.name} has a test split of its own, which all seeds share; compare "
            "without --repeat-splits."
        )


def save_set_of_seed(
    workspace: Workspace, name: str, seed: int, *, new_test: bool = False
) -> TrainingSet:
    """Return `set_of_seed`, saved so that generators can be trained on it."""
    drawn = set_of_seed(workspace, name, seed, new_test=new_test)
    if drawn.name in [*list_sets(workspace), *list_datasets(workspace)]:
        return drawn
    return make_set(workspace, drawn.name, drawn.config)


def plan_notes(workspace: Workspace, config: CompareConfig) -> list[str]:
    """One note per part of a training set that lacks classes; with redraw, for each seed."""
    base = open_set(workspace, config.set)
    dataset = open_dataset(workspace, base.config.dataset)
    if not config.redraw:
        return set_notes(dataset, base)
    draws = _draws(workspace, config)
    notes = {seed: set_notes(dataset, drawn) for seed, drawn in draws.items()}
    return [f"Seed {seed}: {note}" for seed, of_seed in notes.items() for note in of_seed]


def resolve_synthetic(
    workspace: Workspace, config: CompareConfig, training_set: TrainingSet, seed: int | None = None
) -> dict[str, SyntheticSet]:
    """{images of an arm: synthetic set}, for the arms that add images.

    `seed` is None if all seeds share the sets.
    """
    check_arms(workspace, config.arms, tuple(config.synthetic))
    sets: dict[str, SyntheticSet] = {}
    for images in dict.fromkeys(arm.images for arm in config.parsed if arm.images):
        named = config.synthetic.get(synthetic_key(images, seed), config.synthetic.get(images))
        if named is None and images in generated_arms():
            sets[images] = newest_synthetic(workspace, training_set, images)
            continue
        sets[images] = open_synthetic(workspace, named or images)
        sets[images].check_fits(training_set)
    channels = open_dataset(workspace, training_set.config.dataset).channels if sets else 0
    for synthetic in sets.values():
        synthetic.check_images(channels)
    return sets


def check_arms(workspace: Workspace, arms: Sequence[str], named: Sequence[str] = ()) -> None:
    """Raise UserError for an arm whose images are neither a generator's nor a synthetic set.

    `named` are images for which the config names a set.
    """
    valid = {*generated_arms(), *named, *list_synthetic(workspace)}
    for images in (Arm.parse(arm).images for arm in arms):
        if images is not None and images not in valid:
            raise UserError(
                f"{images!r} is neither an arm nor a synthetic set; arms are "
                f"{', '.join(descriptions())}, or the name of a synthetic set, joined by +."
            )


def synthetic_key(images: str, seed: int | None) -> str:
    """The key of an arm's images in `CompareConfig.synthetic`, for one seed or for all."""
    return images if seed is None else f"{images}, seed {seed}"


def pretrained_hash(workspace: Workspace, config: CompareConfig) -> str | None:
    """SHA-256 of the ImageNet weights that the classifier starts from; None without any."""
    classifier = config.classifier
    if classifier.pretrained == "no" or classifier.network not in ("resnet18", "vgg16"):
        return None
    try:
        return weights_metadata(workspace, classifier.network)["sha256"]  # type: ignore[arg-type]
    except UserError:
        return None


def resolve_cells(
    config: CompareConfig, inputs: Mapping[int, CellInputs], weights: str | None
) -> list[Cell]:
    """List every cell, seeds outermost; an arm without images occurs once per seed.

    Raises UserError for duplicate schedules or amounts, empty classes and missing images.
    """
    schedules = [Schedule.parse(text) for text in config.schedules]
    epochs = [schedule.epochs(config.classifier.epochs) for schedule in schedules]
    if len(set(epochs)) != len(epochs):
        raise UserError(
            f"Two of the schedules {', '.join(config.schedules)} are the same over "
            f"{config.classifier.epochs} epochs; leave one out or train longer."
        )
    cells: list[Cell] = []
    for seed in config.seeds:
        cells += _cells_of_seed(config, inputs[seed], schedules, seed, weights)
    return cells


def _cells_of_seed(
    config: CompareConfig,
    inputs: CellInputs,
    schedules: list[Schedule],
    seed: int,
    weights: str | None,
) -> list[Cell]:
    training_set = inputs.training_set
    empty = [c for c, n in training_set.counts.items() if not n]
    if empty:
        raise UserError(
            f"Training set {training_set.name} holds no image of {', '.join(empty)}; a "
            "classifier cannot learn it. Make the set again with `sets make`."
        )
    shared: list[Any] = [
        _without_name(training_set),
        _hashed(config.classifier, weights),
        __version__,
    ]
    if inputs.absent:  # earlier versions averaged over these too
        shared.append({"absent": inputs.absent})
    cells = []
    for arm in config.parsed:
        if arm.has_only_real_images:
            k = arm.returned
            plan = returned_plan(training_set, inputs.withheld, k) if k else {}
            cells.append(Cell(arm, Schedule("always"), None, seed, None, plan, digest(shared)))
            continue
        synthetic = inputs.synthetic[arm.images] if arm.images else None
        base = digest([*shared, synthetic.provenance.to_json()] if synthetic else shared)
        name = synthetic.name if synthetic else None
        for amount in config.amounts:
            plan = plan_additions(config, training_set, amount)
            if synthetic:
                check_amount(plan, synthetic.counts, synthetic.name)
            cells += [Cell(arm, s, amount, seed, name, plan, base) for s in schedules]
    if len({cell.key for cell in cells}) < len(cells):
        raise UserError(
            f"Two of the amounts {', '.join(config.amounts)} add the same images to training set "
            f"{training_set.name}; leave one out."
        )
    return cells


def _without_name(training_set: TrainingSet) -> dict[str, Any]:
    return {k: v for k, v in training_set.to_json().items() if k != "name"}


def _hashed(config: ClassifierConfig, weights: str | None) -> dict[str, Any]:
    return config.model_dump(mode="json") | {"pretrained": weights}


def find_finished(
    workspace: Workspace, key: str, with_curve: bool, external: str | None
) -> CellRecord | None:
    """Find a cell's result in any comparison of the workspace, skipping damaged ones."""
    for path in workspace.runs.glob(f"[!.]*/result/cells/{key}.json"):
        if (record := read_finished(path, key, with_curve, external)) is not None:
            return record.model_copy(update={"taken_from": path.parents[2].name})
    return None


def read_finished(
    path: Path, key: str, with_curve: bool, external: str | None = None
) -> CellRecord | None:
    """Read the complete result of a cell, or return None.

    None if the file is missing or damaged, belongs to another cell, or lacks a measure, the
    probabilities or, `with_curve`, the test measures of every epoch, or the results on the dataset
    with the fingerprint `external`.
    """
    try:
        record = read_cell(path)
    except UserError:
        return None
    is_complete = measures().keys() <= record.best.test.measures.keys()
    is_complete &= path.with_suffix(".npz").exists()
    if external is not None:
        is_complete &= record.external is not None and record.external.fingerprint == external
    is_complete &= not with_curve or all(e.test_accuracy is not None for e in record.curve)
    return record if record.cell == key and is_complete else None
