"""What every config shares: frozen, keyword-only, presets by name, one sentence on bad input."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rebalance_core.errors import UserError
from rebalance_core.system.files import parse_json

Preset = Literal["quick", "small", "paper", "strong"]
Precision = Literal["auto", "fp32", "bf16"]  # auto: bf16 where that is fast
PRESETS: tuple[Preset, ...] = ("quick", "small", "paper", "strong")


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy, scikit-learn and torch all take
Timestamp = Annotated[float, Field(ge=0, lt=2**37)]  # seconds since 1970, up to the year 6325


Target = Literal["dataset", "set", "poses", "run", "synthetic"]


@dataclass(frozen=True)
class Reference:
    """Marks a config's field as the name of something else in the workspace.

    Lineage, removal, clean-up and the checks before a run follow these marks, whatever the config.
    """

    target: Target
    creates: bool = False  # the run makes what the field names
    required: bool = True  # what is named must exist before the run starts


DatasetRef = Annotated[str, Reference("dataset")]
SetRef = Annotated[str, Reference("set")]  # a training set, or a dataset, which is its own set
RunRef = Annotated[str, Reference("run")]  # a run's id
SyntheticRef = Annotated[str, Reference("synthetic")]
NewDataset = Annotated[str, Reference("dataset", creates=True)]
NewSynthetic = Annotated[str, Reference("synthetic", creates=True)]


# Of models that check what was read from a file: "3" is not 3, NaN is not a number, and fields of
# other versions are ignored.
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each may be named only once")
    return values


Unique = AfterValidator(_each_once)


def problem(error: ValidationError) -> str:
    """The first thing that does not fit, on one line: `progress.fraction: input should be …`."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        told = "it should be an object"
    return f"{field[:200]}: {told[:1].lower()}{told[1:]}" if field else told


Model = TypeVar("Model", bound=BaseModel)


def read_model(model: type[Model], path: Path, remedy: str) -> Model:
    """The record in a JSON file; raises UserError, one sentence that ends with `remedy`, where the
    file is missing, is not JSON or does not fit the model."""
    try:
        return model.model_validate(parse_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, ValidationError):
            reason = problem(error)
        reason = " ".join(str(reason).split())
        raise UserError(f"{path} is damaged ({reason}); {remedy}.") from error


class Config(BaseModel):
    """A frozen config; `presets` holds what each preset changes of the defaults (= `paper`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """The preset's config with `changes` on top; raises UserError for what doesn't fit."""
        if name not in cls.presets:
            raise UserError(f"There is no preset {name!r}; choose one of {', '.join(cls.presets)}.")
        return cls.build(**{**cls.presets[name], "preset": name, **changes})

    @classmethod
    def build(cls, /, **values: Any) -> Self:
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            given = repr(first.get("input"))[:1000]
            raise UserError(
                f"{field[:200]}={given} does not fit {cls.__name__}: {first['msg']}."
            ) from error


def parse_overrides(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    """`["field=value", …]` → dict: numbers, true, false and null as such, `a,b` as a tuple."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{option} takes field=value, not {pair!r}.")
        parts = [_plain(part.strip()) for part in value.split(",")]
        changes[field.strip()] = parts[0] if len(parts) == 1 else tuple(p for p in parts if p != "")
    return changes


def _plain(text: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return text if isinstance(value, str | list | dict) else value


def reference_fields(config: type[BaseModel]) -> dict[str, tuple[Reference, ...]]:
    """{field: its references} of those fields of a config that name something."""
    found = {
        name: tuple(_references(info.annotation, info.metadata))
        for name, info in config.model_fields.items()
    }
    return {name: references for name, references in found.items() if references}


def _references(annotation: Any, metadata: Any = ()) -> Iterator[Reference]:
    """References in `Annotated[…]`, at any depth of a type such as `dict[str, RunRef] | None`."""
    yield from (mark for mark in metadata if isinstance(mark, Reference))
    for part in get_args(annotation):
        yield from _references(part, getattr(part, "__metadata__", ()))


def references(config: type[BaseModel], values: Mapping[str, Any]) -> list[tuple[Reference, str]]:
    """What the values of a config refer to: (reference, name), also of values read from disk."""
    return [
        (reference, name)
        for field, marks in reference_fields(config).items()
        for name in _names(values.get(field))
        for reference in marks
    ]


def _names(value: Any) -> list[str]:
    """The names in a field's value: one, or those in a tuple or a mapping's values."""
    if isinstance(value, Mapping):
        value = list(value.values())
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]
