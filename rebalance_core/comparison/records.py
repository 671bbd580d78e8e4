"""A comparison's records on disk as typed models, validated when they are read."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    computed_field,
    model_serializer,
    model_validator,
)

from rebalance_core.classifiers.measures import PRIMARY, measures
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import Arm, variant_name
from rebalance_core.comparison.statistics import SIGNIFICANT
from rebalance_core.config import STRICT, Reference, Seed, problem
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import Fit
from rebalance_core.runs.executor import RunView
from rebalance_core.runs.records import read_record
from rebalance_core.system.files import read_json

T = TypeVar("T")
REMEDY = "remove it and resume the comparison"
CELL_FILE = "cell.json"  # record of a kept classifier, in its folder
STATISTICS = 3  # version of the statistics; results of another version are computed again


def _parsed(parse: Callable[[str], object]) -> AfterValidator:
    """A validator of text that `parse` accepts; `parse` raises UserError for other text."""

    def check(text: str) -> str:
        try:
            parse(text)
        except UserError as error:
            raise ValueError(str(error).rstrip(".")) from error
        return text

    return AfterValidator(check)


Share = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=-(10.0**9), le=10.0**9)]
Seconds = Annotated[float, Field(ge=0, lt=2**37)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Epoch = Annotated[int, Field(ge=1, lt=2**31)]
Interval = Annotated[list[Points], Field(min_length=2, max_length=2)]
Confusion = Annotated[list[list[Count]], Field(min_length=1)]
CellKey = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # used in file names
ArmName = Annotated[str, _parsed(Arm.parse)]
ScheduleName = Annotated[str, _parsed(Schedule.parse)]


class Record(BaseModel):
    model_config = STRICT | ConfigDict(frozen=True)


class Measured(Record):
    """A record with one value per measure, stored flat among its other fields.

    Measures other than the primary one may be missing, as in records of earlier versions.
    """

    measures: dict[str, float | None]

    @model_validator(mode="before")
    @classmethod
    def _gather_measures(cls, record: Any) -> Any:
        if not isinstance(record, dict) or "measures" in record:
            return record
        return {**record, "measures": {key: record[key] for key in measures() if key in record}}

    @model_validator(mode="after")
    def _measures_are_within_bounds(self) -> Self:
        if self.measures.get(PRIMARY) is None:
            raise ValueError(f"{PRIMARY} is missing")
        for key, value in self.measures.items():
            low, high = measures()[key].bounds
            if value is not None and not low <= value <= high:
                raise ValueError(f"{key} is not between {low:g} and {high:g}")
        return self

    @model_serializer(mode="wrap")
    def _store_flat(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        record: dict[str, Any] = serialize(self)
        return {**record.pop("measures"), **record}

    @property
    def primary(self) -> float:
        value = self.measures[PRIMARY]
        assert value is not None  # checked above
        return value


class TestRecord(Measured):
    """A classifier's results on the test split; class lists have one entry per class, None for a
    class without a test image. `confusion` has one row per true class."""

    __test__ = False  # not a pytest class

    precision: list[Share | None]
    recall: list[Share | None]
    confusion: Confusion
    predictions: list[Count]  # class number of each test image

    @model_validator(mode="after")
    def _lists_match(self) -> Self:
        check_classes(len(self.confusion), self)
        counts = Counter(self.predictions)
        columns = [sum(column) for column in zip(*self.confusion, strict=True)]
        if counts != Counter(dict(enumerate(columns))):
            raise ValueError("predictions are not those that the confusion counts")
        return self


class ChosenEpoch(Record):
    """The epoch with the best macro-F1 on validation."""

    epoch: Epoch
    validation_macro_f1: Share


class BestRecord(ChosenEpoch):
    """The chosen epoch and its results on test."""

    test: TestRecord


class EpochRecord(Record):
    """One epoch of a cell: training loss, validation measures and, where evaluated, test ones."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    epoch: Epoch
    validation_accuracy: Share
    test_accuracy: Share | None = None
    updates: Count | None = None  # since the start
    images: Count | None = None  # shown since the start, repetitions included


class CellIdentity(Record):
    """Fields that identify a cell in its metrics lines and files."""

    cell: CellKey
    arm: ArmName
    amount: str | None  # None if no images are added
    schedule: ScheduleName
    seed: Seed

    @computed_field  # type: ignore[prop-decorator] # mypy 1.x: decorators above property
    @property
    def label(self) -> str:
        return variant_name(self.arm, self.amount, self.schedule)


class FailedCell(CellIdentity):
    """A cell whose training failed, with the reason."""

    reason: str


class TrainedCell(CellIdentity):
    """A trained cell, before its test predictions are made."""

    plan: dict[str, Count]  # {class: images added}
    synthetic: str | None
    best: ChosenEpoch
    curve: Annotated[list[EpochRecord], Field(min_length=1)]
    seconds: Seconds
    taken_from: str | None = None  # run that trained it, if it was another one

    @model_validator(mode="after")
    def _epochs_are_consecutive(self) -> Self:
        if [line.epoch for line in self.curve] != list(range(1, len(self.curve) + 1)):
            raise ValueError("the epochs of the curve are not 1, 2, 3, …")
        if self.best.epoch > len(self.curve):
            raise ValueError("best.epoch is not an epoch of the curve")
        return self


class ExternalTest(Record):
    """A cell's results on all images of another dataset."""

    fingerprint: str  # of the dataset
    test: TestRecord


class CellRecord(TrainedCell):
    """The complete result of one cell."""

    best: BestRecord
    external: ExternalTest | None = None


class Contrast(Record):
    """The paired difference of an arm to another one, in points of the primary measure."""

    gains: list[Points]  # one per seed common to both arms
    gain: Points | None  # their mean
    interval: Interval | None
    p: Share | None
    p_corrected: Share | None

    @model_validator(mode="after")
    def _test_is_complete(self) -> Self:
        check_contrast(self.gains, self.gain, self.interval, self.p, self.p_corrected)
        return self

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p is below the level."""
        return self.p_corrected is not None and self.p_corrected < SIGNIFICANT

    @property
    def is_gain(self) -> bool:
        return self.is_significant and self.gain is not None and self.gain > 0


class Power(Record):
    """What a contrast could have shown with 80 % probability, in points (`statistics.Power`)."""

    margin: Points
    detectable: Points
    limit: Points
    seeds: Count | None
    test_groups: Count | None


class Planned(Record):
    """What was fixed before a test prediction was made: `primary.json` of a comparison."""

    primary: str | None = None  # name of the row or arm; None: no generated arm
    rule: Literal["named", "validation"] = "validation"
    measure: str = PRIMARY
    margin: Points = 2.0  # of equivalence and power
    against: str | None = None  # row shown as the reference, instead of the best on validation
    exploratory: list[str] = []  # reasons why a claim is not a confirmation


class Claim(Record):
    """Whether the primary arm beats every arm without a generator, each contrast at 95 %."""

    primary: str  # name of a row
    rule: Literal["named", "validation"]
    measure: str = PRIMARY  # key of the measure whose differences are tested
    exploratory: list[str]
    against: dict[str, Contrast]  # {free row: contrast with it}
    closest: str | None  # the free row that decides: better, else not beaten, else closest
    is_shown: bool
    missing: list[str]  # free arms that a claim should be tested against
    margin: Points
    power: Power | None  # of the contrast with `closest`
    equivalence_p: Share | None
    groups: Count  # of test images


class ExchangeRate(Record):
    """What the added images of a row are worth in real images of the same classes.

    Both ends of `interval` and `real` are at least 0 and at most `most`, the largest number of
    real images that was given back; at these limits the true value may lie beyond.
    """

    name: str  # of the row
    added: Count  # images
    real: Points
    interval: Interval | None
    most: Count


class PaperFinding(Record):
    """A finding of the paper, what the comparison found, and whether the two agree."""

    section: str
    said: str
    found: str
    agrees: Literal["yes", "no", "open"]


class SubsetGain(Record):
    """Accuracy on a subset of the test images, percent, and the primary arm's gain there."""

    name: str  # such as `class glioma`
    images: Count
    accuracy: dict[str, Points]  # {row: mean over seeds}
    gain: Contrast  # to the claim's closest free arm


class Row(Measured):
    """One arm with one amount under one schedule, over all its seeds: means on the test split, and
    the differences to the baseline and to the reference."""

    arm: ArmName
    name: str
    amount: str | None
    schedule: ScheduleName | None
    seeds: Annotated[list[Seed], Field(min_length=1)]
    added: dict[str, Count]
    synthetic: str | None
    synthetic_sets: list[str]
    free: bool  # baseline or remedy: needs no generator; False for a control
    unverified: bool  # whether the generator's training images are unverified
    epoch: list[Epoch]
    scores: list[Share]  # the primary measure on test, one per seed
    validation_macro_f1: Share
    validation_scores: list[Share]
    macro_f1_std: Annotated[float, Field(ge=0)] | None
    macro_f1_interval: Interval | None
    precision: list[Share | None]
    recall: list[Share | None]
    confusion: Confusion  # over all seeds
    validation_swing: Share | None
    last_test_accuracy: Share | None = None  # at the last epoch
    best_test_accuracy: Share | None
    updates: Count | None = None  # per seed
    images_seen: Count | None = None  # per seed, repetitions included
    best_test_accuracy_20_epochs: Share | None
    best_test_accuracy_30_epochs: Share | None
    paper_accuracy: float | None  # percent
    seconds: Seconds
    generator_seconds: Seconds | None = None
    # the contrast with the baseline
    gains: list[Points] = []
    gain: Points | None = None
    gain_interval: Interval | None = None
    p: Share | None = None
    p_corrected: Share | None = None
    reference: Contrast | None = None  # the contrast with the reference
    is_reference: bool = False
    contrasts: Count = 0  # number of contrasts that p and intervals are corrected for

    @model_validator(mode="after")
    def _lists_match(self) -> Self:
        check_classes(len(self.confusion), self)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is listed twice")
        for name in ("epoch", "scores", "validation_scores"):
            if len(getattr(self, name)) != len(self.seeds):
                raise ValueError(f"{name} does not have one value per seed")
        check_contrast(self.gains, self.gain, self.gain_interval, self.p, self.p_corrected)
        return self

    @property
    def baseline_contrast(self) -> Contrast:
        return Contrast(
            gains=self.gains,
            gain=self.gain,
            interval=self.gain_interval,
            p=self.p,
            p_corrected=self.p_corrected,
        )

    @property
    def is_generated(self) -> bool:
        """Whether the arm adds images of a trained generator."""
        return not self.free and not self.is_control

    @property
    def is_control(self) -> bool:
        """Whether the arm is neither free nor generated: placebo, or real images given back."""
        return Arm.parse(self.arm).control is not None


class ComparedSeeds(Record):
    """The fields of a comparison's config that determine its training sets."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    redraw: bool = False


class SetFacts(Record):
    """Sizes of the training set of one seed: {class: images} of each part."""

    seed: Seed
    name: str
    train: dict[str, Count]
    validation: dict[str, Count]
    test: dict[str, Count]
    absent: list[str]  # classes without a test image


class StoredComparison(Record):
    """The fields of a report or `results.json` needed to repeat its comparison."""

    config: dict[str, Any]
    training_set: dict[str, Any]
    fingerprint: str


class OldResults(Record):
    """The fields common to the `results.json` of all versions."""

    classes: Annotated[list[str], Field(min_length=1)]
    preset: str
    redraw: bool
    failed: Count
    results: list[dict[str, Any]]

    @property
    def generator_seconds(self) -> dict[str, float]:
        """{name of a row: seconds of its generator}, without invalid values."""
        seconds: dict[str, float] = {}
        for row in self.results:
            name, value = row.get("name"), row.get("generator_seconds")
            if isinstance(name, str) and isinstance(value, float) and 0 <= value < 2**37:
                seconds[name] = value
        return seconds


class ExternalFindings(Record):
    """The same rows and claim on another dataset, on which nothing was trained or chosen."""

    dataset: str
    images: Count
    results: list[Row]
    claim: Claim | None
    answer: str


class Findings(Record):
    """The rows of a comparison and what follows from them."""

    classes: Annotated[list[str], Field(min_length=1)]
    preset: str
    redraw: bool
    failed: Count
    results: list[Row]
    answer: str
    absent: str  # sentence on classes without a test image, or empty
    proven_gain: bool
    notes: list[str] = []  # sentences on what the result does not cover
    claim: Claim | None = None  # None without generated arms
    subsets: list[SubsetGain] = []  # where the primary arm helps or hurts
    exchange: list[ExchangeRate] = []  # of rows with images, where real ones were given back
    paper: list[PaperFinding] = []  # at preset paper: what the paper found, and what was found here
    external: ExternalFindings | None = None
    measure: str = PRIMARY  # key of the measure whose differences are tested
    outdated: bool = False  # whether another version wrote the file

    @model_validator(mode="after")
    def _rows_match(self) -> Self:
        names = [row.name for row in self.results]
        if len(set(names)) < len(names):
            raise ValueError("two rows have the same name")
        references = sum(row.is_reference for row in self.results)
        if references > 1 or (not references and any(row.reference for row in self.results)):
            raise ValueError("the reference is not one row")
        for number, row in enumerate(self.results):
            if len(row.confusion) != len(self.classes):
                raise ValueError(f"results.{number} does not have one entry per class")
        return self


class Results(Findings, StoredComparison):
    """The whole content of `results.json`."""

    set: str
    dataset: str
    split: str
    skew: str
    counts: dict[str, Count]  # {class: training images}
    sets: list[SetFacts]  # one per seed with redraw, else a single one
    seeds: Annotated[list[Seed], Field(min_length=1)]
    statistics: int
    code: str
    machine: str
    versions: dict[str, str]


class KeptClassifier(CellIdentity):
    """`cell.json` of the classifier that a comparison kept: its cell and its input format."""

    epoch: Epoch
    validation_macro_f1: Share
    set: str  # training set
    size: Annotated[int, Field(ge=1, lt=2**14)]  # of input images, px
    channels: Literal[1, 3]
    run: str | None = None  # run that trained it
    fit: Fit = "pad"
    dataset: str | None = None


def check_classes(count: int, record: TestRecord | Row) -> None:
    """Raise ValueError unless every list has one entry per class."""
    lengths = [len(record.precision), len(record.recall), *map(len, record.confusion)]
    if any(length != count for length in lengths):
        raise ValueError("precision, recall and confusion do not have one entry per class")


def check_contrast(
    gains: Sequence[float],
    gain: float | None,
    interval: Sequence[float] | None,
    p: float | None,
    p_corrected: float | None,
) -> None:
    """Raise ValueError if a paired test has some of its values but not all."""
    if (gain is None) != (not gains):
        raise ValueError("gain and gains do not belong together")
    if not (interval is None) == (p is None) == (p_corrected is None):
        raise ValueError("interval, p and p_corrected do not belong together")
    if interval is not None and interval[0] > interval[1]:
        raise ValueError("the ends of the interval are not in order")


def read_cell(path: Path) -> CellRecord:
    """Read the result of one cell; raises UserError if it is missing or damaged."""
    return _check(CellRecord, _load(path), path)


def read_cells(run: Path) -> list[CellRecord]:
    """Read the results of a comparison's finished cells, in planned order.

    Raises UserError if one is damaged or is another cell's.
    """
    cells: list[CellRecord] = []
    for planned in read_planned_cells(run):
        path = run / "result" / "cells" / f"{planned.cell}.json"
        if not path.exists():
            continue
        cell = read_cell(path)
        # the key covers what an amount adds, not how it is written
        cell = cell.model_copy(update={"amount": planned.amount})
        if any(getattr(cell, field) != value for field, value in planned):
            raise damaged(path, "it is another cell's")
        if len(cell.best.test.confusion) != len((cells or [cell])[0].best.test.confusion):
            raise damaged(path, "best.test.confusion: it has other classes than other cells")
        cells.append(cell)
    return cells


def read_trained_cell(path: Path) -> TrainedCell:
    """Read a trained cell; raises UserError if it is missing or damaged."""
    return _check(TrainedCell, _load(path), path)


def read_planned(run: Path) -> Planned:
    """Read what was fixed before a comparison's test predictions; raises UserError if damaged."""
    path = run / "result" / "primary.json"
    return _check(Planned, _load(path), path) if path.exists() else Planned()


def read_failed_cell(path: Path) -> FailedCell:
    """Read why a cell failed; raises UserError if the file is missing or damaged."""
    return _check(FailedCell, _load(path), path)


def read_planned_cells(run: Path) -> list[CellIdentity]:
    """Read the planned cells of a comparison; empty before it has resolved them.

    Raises UserError if the file is damaged.
    """
    path = run / "result" / "cells.json"
    cells = _check(list[CellIdentity], _load(path), path) if path.exists() else []
    return list({cell.cell: cell for cell in cells}.values())


def read_compared_seeds(run: Path) -> ComparedSeeds:
    """Read the seeds of a comparison; raises UserError if `run.json` is missing or damaged."""
    return _check(ComparedSeeds, read_record(run).config, run / "run.json", "remove the run")


def read_synthetic_names(run: Path, keys: Iterable[str] = ()) -> dict[str, str]:
    """Read {key of an arm's images: synthetic set} of a comparison.

    Raises UserError if the file is missing or damaged or lacks one of `keys`.
    """
    path = run / "result" / "synthetic.json"
    names = _check(dict[str, str], _load(path), path)
    for key in keys:
        if key not in names:
            raise damaged(path, f"{key}: field required")
    return names


def synthetic_references(view: RunView) -> list[tuple[Reference, str]]:
    """References to the synthetic sets that a comparison chose; empty if its config names them."""
    path = view.path / "result" / "synthetic.json"
    if view.config.get("synthetic") or not path.exists():
        return []
    try:
        names = read_synthetic_names(view.path).values()
    except UserError:
        return []
    return [(Reference("synthetic"), name) for name in names]


def read_kept_classifier(folder: Path) -> KeptClassifier:
    """Read a kept classifier's record; raises UserError if `cell.json` is missing or damaged."""
    path = folder / CELL_FILE
    return _check(KeptClassifier, _load(path), path, "remove its folder")


def read_stored_results(path: Path) -> Results | OldResults:
    """Read `results.json` of this or another version; raises UserError if missing or damaged."""
    value = _load(path)
    if isinstance(value, dict) and value.get("statistics") == STATISTICS:
        return _check(Results, value, path)
    return _check(OldResults, value, path)


def _load(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"{path} does not exist; resume the comparison.")
    return read_json(path)


def _check(kind: type[T], value: Any, path: Path, remedy: str = REMEDY) -> T:
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise damaged(path, problem(error), remedy) from error


def damaged(path: Path, reason: str, remedy: str = REMEDY) -> UserError:
    """The error for a record whose content is invalid."""
    return UserError(f"{path} is damaged ({reason}); {remedy}.")
