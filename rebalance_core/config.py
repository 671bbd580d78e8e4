"""Base class of all configs: frozen, keyword-only, presets by name, one sentence per error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rebalance_core.errors import UserError
from rebalance_core.system.files import parse_json

Preset = Literal["quick", "small", "paper", "strong"]
Precision = Literal["auto", "fp32", "bf16"]  # auto: bf16 where the device is fast with it
PRESETS: tuple[Preset, ...] = ("quick", "small", "paper", "strong")


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # accepted by NumPy, scikit-learn and torch
Timestamp = Annotated[float, Field(ge=0, lt=2**37)]  # seconds since 1970, up to the year 6325


Target = Literal["dataset", "set", "poses", "run", "synthetic"]


@dataclass(frozen=True)
class Reference:
    """Marks a field of a config as the name of something in the workspace.

    Lineage, removal, clean-up and the checks before a run are derived from these marks.
    """

    target: Target
    creates: bool = False  # the run creates it
    required: bool = True  # it must exist before the run starts


DatasetRef = Annotated[str, Reference("dataset")]
SetRef = Annotated[str, Reference("set")]  # a training set, or a dataset as a set
RunRef = Annotated[str, Reference("run")]  # a run's id
SyntheticRef = Annotated[str, Reference("synthetic")]
NewDataset = Annotated[str, Reference("dataset", creates=True)]
NewSynthetic = Annotated[str, Reference("synthetic", creates=True)]


# For models of records read from disk: no coercion ("3" is not 3), no NaN or infinity, and unknown
# fields, which other versions may write, are ignored.
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _check_unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each may be named only once")
    return values


Unique = AfterValidator(_check_unique)


def problem(error: ValidationError) -> str:
    """The first error as one line, such as `progress.fraction: input should be …`."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        message = "it should be an object"
    return f"{field[:200]}: {message[:1].lower()}{message[1:]}" if field else message


Model = TypeVar("Model", bound=BaseModel)


def read_model(model: type[Model], path: Path, remedy: str) -> Model:
    """Read a record from a JSON file.

    Raises UserError, ending with `remedy`, if the file is missing, not JSON or not valid.
    """
    try:
        return model.model_validate(parse_json(path.read_bytes()))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {remedy}.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not readable as JSON"
        if isinstance(error, ValidationError):
            reason = problem(error)
        reason = " ".join(str(reason).split())
        raise UserError(f"{path} is damaged ({reason}); {remedy}.") from error


class Config(BaseModel):
    """A frozen config; `presets` maps each preset to its overrides of the defaults (= `paper`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Build the config of a preset with `overrides`.

        Raises UserError for an unknown preset or an invalid value.
        """
        if name not in cls.presets:
            raise UserError(f"There is no preset {name!r}; choose one of {', '.join(cls.presets)}.")
        return cls.build(**{**cls.presets[name], "preset": name, **overrides})

    @classmethod
    def build(cls, /, **values: Any) -> Self:
        """The config of these values; raises UserError if one is invalid."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            value = repr(first.get("input"))[:1000]
            raise UserError(
                f"{field[:200]}={value} does not fit {cls.__name__}: {first['msg']}."
            ) from error


def parse_overrides(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    """Parse `["field=value", …]`: numbers, true, false and null by type, `a,b` as a tuple."""
    overrides: dict[str, Any] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{option} takes field=value, not {pair!r}.")
        parts = [_parse_value(part.strip()) for part in value.split(",")]
        overrides[field.strip()] = (
            parts[0] if len(parts) == 1 else tuple(p for p in parts if p != "")
        )
    return overrides


def _parse_value(text: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return text if isinstance(value, str | list | dict) else value


def reference_fields(config: type[BaseModel]) -> dict[str, tuple[Reference, ...]]:
    """{field: its references} of the fields of a config that name something in the workspace."""
    fields = {
        name: tuple(_references(info.annotation, info.metadata))
        for name, info in config.model_fields.items()
    }
    return {name: references for name, references in fields.items() if references}


def _references(annotation: Any, metadata: Any = ()) -> Iterator[Reference]:
    """References in `Annotated[…]`, at any depth of a type such as `dict[str, RunRef] | None`."""
    yield from (mark for mark in metadata if isinstance(mark, Reference))
    for part in get_args(annotation):
        yield from _references(part, getattr(part, "__metadata__", ()))


def references(config: type[BaseModel], values: Mapping[str, Any]) -> list[tuple[Reference, str]]:
    """All (reference, name) in the values of a config, which may be unvalidated."""
    return [
        (reference, name)
        for field, marks in reference_fields(config).items()
        for name in _names(values.get(field))
        for reference in marks
    ]


def _names(value: Any) -> list[str]:
    """The names in the value of a field: a str, or those in a sequence or mapping."""
    if isinstance(value, Mapping):
        value = list(value.values())
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]
