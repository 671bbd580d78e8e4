"""Stored records of a synthetic set, its scores and its quiz, validated when they are read."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rebalance_core.config import STRICT, Timestamp, read_model
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import RunView
from rebalance_core.system.files import digest, parse_json
from rebalance_core.training_sets.resolve import TrainingSet

METRICS = {  # title, and whether higher is better
    "frechet": ("Fréchet distance", False),
    "kernel": ("kernel distance (KID) × 1000", False),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "near_copy_rate": ("near-copies of a training image", False),
    "label_accuracy": ("classified as its class", True),
}
INCEPTION_TITLE = "Fréchet distance (Inception, torchvision)"
_EARLIER_METRICS = {"memorised": "near_copy_rate", "as_asked": "label_accuracy"}

Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Record(BaseModel):
    """Keys of other versions are preserved, so that the digest of a record does not change."""

    model_config = ConfigDict(**STRICT, frozen=True, extra="allow", populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """As it is stored: with the keys of the file, without fields that were not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _set_all_fields(value: object) -> object:
    """Convert a TrainingSet to JSON data with all its fields.

    Data read from a file is returned unchanged.
    """
    return value.to_json() if isinstance(value, TrainingSet) else value


def _check_label(label: str) -> str:
    if label in ("", "..") or Path(label).name != label or "\0" in label:
        raise ValueError("it is not the name of a folder")
    if len(label.encode()) > 255:
        raise ValueError("it is too long for the name of a folder")
    return label


StoredSet = Annotated[TrainingSet, BeforeValidator(_set_all_fields)]
Label = Annotated[str, AfterValidator(_check_label)]


class FilterSource(_Record):
    """The synthetic set that was filtered, and the digest of its provenance."""

    name: str
    provenance: str


class FilterStep(_Record):
    """One filter that a synthetic set went through."""

    name: str
    value: Any
    source: FilterSource = Field(alias="from")
    training_set: StoredSet | None  # that the filter was exposed to
    removed: dict[str, list[str]]  # {class: images as class/file}


class Provenance(_Record):
    """`provenance.json`: where the images of a synthetic set come from."""

    generator: Annotated[str, Field(min_length=1)]
    training_set: StoredSet  # of the generator
    counts: Annotated[dict[Label, Count], Field(min_length=1)]
    size: Annotated[int, Field(ge=1, le=2**14)]  # px
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    sampler: dict[str, Any] | None = None  # options
    training: dict[str, Any] | None = None  # config of the generator; None if unknown
    filters: list[FilterStep] = []
    run: str | None = None  # that trained the generator; None for images made elsewhere
    sample_run: str | None = None  # that wrote the set
    bring_run: str | None = None  # that imported the images
    earlier_runs: list[str] = []  # that wrote the sets it was filtered from
    # Whether only the user states what the generator was trained on.
    unverified: bool = Field(default=False, alias="believed")
    source: str | None = None  # folder that the images were imported from
    created: Timestamp | None = None

    @property
    def digest(self) -> str:
        return digest(self.to_json())


def read_provenance(folder: Path) -> Provenance:
    """`provenance.json` of a synthetic set; raises UserError where it is damaged."""
    return read_model(Provenance, folder / "provenance.json", "remove the synthetic set")


class Metric(_Record):
    """A metric of generated images and of real ones, its floor; None where it is not available.

    The spreads are standard deviations over random draws.
    """

    generated: float | None = None
    real: float | None = None
    generated_spread: float | None = None
    real_spread: float | None = None


def _rename_metrics(value: object) -> object:
    """Metrics by their names in this version, without unknown ones."""
    if not isinstance(value, Mapping):
        return value
    renamed = {_EARLIER_METRICS.get(name, name): inner for name, inner in value.items()}
    return {name: inner for name, inner in renamed.items() if name in METRICS}


def _complete_titles(value: object) -> object:
    renamed = _rename_metrics(value)
    if not isinstance(renamed, Mapping):
        return renamed
    if renamed.get("frechet") == "FID":  # of an earlier version
        renamed = {**renamed, "frechet": INCEPTION_TITLE}
    return {**default_titles(), **renamed}


def default_titles() -> dict[str, str]:
    return {name: title for name, (title, _) in METRICS.items()}


class ClassScores(_Record):
    images: Count  # generated
    real: Count
    compared: Count  # images on each side of a comparison
    metrics: Annotated[dict[str, Metric], BeforeValidator(_rename_metrics)] = Field(alias="figures")
    warnings: list[str] = []


class Scores(_Record):
    """`scores.json`: metrics of each class of a synthetic set, and how they were measured."""

    synthetic: str | None = None
    provenance: str | None = None  # its digest
    training_set: str | None = None
    network: str  # whose features, as text
    components: Annotated[int, Field(ge=1, lt=2**31)] | None = None  # of the Fréchet distance
    titles: Annotated[dict[str, str], BeforeValidator(_complete_titles)] = Field(
        default_factory=default_titles
    )
    scorer: dict[str, Any] | None = None  # epochs and seed
    classes: Annotated[dict[str, ClassScores], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_metrics(self) -> "Scores":
        if not self.names:
            raise ValueError("no class has a metric")
        return self

    @property
    def names(self) -> list[str]:
        """The metrics that at least one class has."""
        return [n for n in METRICS if any(n in c.metrics for c in self.classes.values())]

    def by_class(self, name: str) -> dict[str, dict[str, float | None]]:
        """{class: values of a metric}, None where the class does not have it."""
        return {
            label: scores.metrics.get(name, Metric()).model_dump()
            for label, scores in self.classes.items()
        }


class QuizAttempt(_Record):
    """One attempt at a quiz: r (real) or g (generated) for each image."""

    seed: int
    answers: Annotated[str, Field(pattern="^[rg]+$")]
    truth: Annotated[str, Field(pattern="^[rg]+$")]
    time: Timestamp = 0.0

    @model_validator(mode="after")
    def _check_truth(self) -> "QuizAttempt":
        if len(self.answers) != len(self.truth):
            raise ValueError("answers and truth are not of the same length")
        if set(self.truth) != {"r", "g"}:
            raise ValueError("truth does not have images of both kinds")
        return self


def read_attempts(path: Path) -> list[QuizAttempt]:
    """Attempts at a quiz, oldest first; incomplete and foreign lines are skipped."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); remove it.") from error
    attempts = []
    for line in lines:
        with suppress(ValueError):  # ValidationError is a ValueError
            attempts.append(QuizAttempt.model_validate(parse_json(line)))
    return attempts


def read_scores(view: RunView) -> Scores:
    """`scores.json` of a finished run; raises UserError where it is damaged."""
    remedy = "remove the run, and score the set again"
    return read_model(Scores, view.path / "result" / "scores.json", remedy)
