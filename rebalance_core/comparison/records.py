"""Records of a comparison on disk, checked when they are read: anybody may have edited them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rebalance_core.classifiers.measures import PRIMARY, measures
from rebalance_core.config import STRICT, Reference, problem
from rebalance_core.errors import UserError
from rebalance_core.runs.executor import RunView
from rebalance_core.system.files import read_json

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


def _check_measures(values: Mapping[str, Any]) -> None:
    """Raises ValueError for a measure that is not a number within its bounds, or None; measures
    other than the primary one may be missing, as they are from records of earlier versions."""
    if values.get(PRIMARY) is None:
        raise ValueError(f"{PRIMARY} is missing")
    for key, measure in measures().items():
        value, (low, high) = values.get(key), measure.bounds
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key} is not a number")
        if not low <= value <= high:  # nor NaN
            raise ValueError(f"{key} is not between {low:g} and {high:g}")


class _Test(BaseModel):
    model_config = ConfigDict(**STRICT, extra="allow")  # the measures
    precision: list[Share | None]
    recall: list[Share | None]
    confusion: list[list[Count]]
    predictions: list[Count]

    @model_validator(mode="after")
    def _measures_fit(self) -> Self:
        _check_measures(self.model_extra or {})
        return self


class _Best(BaseModel):
    model_config = STRICT
    epoch: Annotated[int, Field(ge=1)]
    validation_macro_f1: Share
    test: _Test


class _Epoch(BaseModel):
    model_config = STRICT
    epoch: Annotated[int, Field(ge=1)]
    validation_accuracy: Share
    test_accuracy: Share


class _Cell(BaseModel):
    model_config = STRICT
    cell: str
    arm: str
    amount: str | None
    schedule: str
    seed: Count
    plan: dict[str, Count]
    synthetic: str | None
    best: _Best
    curve: Annotated[list[_Epoch], Field(min_length=1)]
    seconds: Annotated[float, Field(ge=0)]


class _Contrast(BaseModel):
    model_config = STRICT
    gains: list[float]
    gain: float | None
    interval: Interval | None
    p: Share | None
    p_corrected: Share | None


class _Row(BaseModel):
    model_config = ConfigDict(**STRICT, extra="allow")  # the measures
    arm: str
    name: str
    amount: str | None
    schedule: str | None
    seeds: list[Count]
    added: dict[str, Count]
    gains: list[float]
    gain: float | None
    gain_interval: Interval | None
    p: Share | None
    p_corrected: Share | None
    reference: _Contrast | None
    is_reference: bool
    confusion: list[list[Count]]
    seconds: float

    @model_validator(mode="after")
    def _measures_fit(self) -> Self:
        _check_measures(self.model_extra or {})
        return self


class _Results(BaseModel):
    model_config = STRICT
    classes: list[str]
    preset: str
    redraw: bool
    failed: Count
    results: list[_Row]
    answer: str
    proven_gain: bool


class _OldResults(BaseModel):
    """What results of every version have."""

    model_config = STRICT
    classes: list[str]
    preset: str
    redraw: bool
    failed: Count
    results: list[dict[str, Any]]


class _Winner(BaseModel):
    model_config = STRICT
    label: str
    seed: Count
    epoch: Count
    validation_macro_f1: Share
    set: str
    size: Count
    channels: Count


def read_cell(path: Path) -> dict[str, Any]:
    """The result of one cell; raises UserError where a value is not of its type."""
    return _checked(_Cell, path, "remove it and resume the comparison")


def read_winner(path: Path) -> dict[str, Any]:
    """`cell.json` beside a kept classifier; raises UserError where a value is not of its type."""
    return _checked(_Winner, path, "remove its folder")


def check_results(value: Any, path: Path, *, current: bool) -> dict[str, Any]:
    """The content of `results.json`; raises UserError where a value is not of its type."""
    remedy = "remove it and resume the comparison"
    return _check(_Results if current else _OldResults, value, path, remedy)


def _checked(model: type[BaseModel], path: Path, remedy: str) -> dict[str, Any]:
    return _check(model, read_json(path), path, remedy)


def _check(model: type[BaseModel], value: Any, path: Path, remedy: str) -> dict[str, Any]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({problem(error)}); {remedy}.") from error
    checked: dict[str, Any] = value
    return checked


def chosen_sets(view: RunView) -> list[tuple[Reference, str]]:
    """The synthetic sets that a comparison took by itself, where its config names none."""
    path = view.path / "result" / "synthetic.json"
    if view.config.get("synthetic") or not path.exists():
        return []
    try:
        chosen = read_json(path)
    except UserError:
        return []
    names = chosen.values() if isinstance(chosen, dict) else ()
    return [(Reference("synthetic"), name) for name in names if isinstance(name, str)]
