"""What every config shares: frozen, keyword-only, presets by name, one sentence on bad input."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rebalance_core.errors import UserError

Preset = Literal["quick", "small", "paper", "strong"]
Precision = Literal["auto", "fp32", "bf16"]  # auto: bf16 where that is fast
PRESETS: tuple[Preset, ...] = ("quick", "small", "paper", "strong")


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy, scikit-learn and torch all take


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each may be named only once")
    return values


EachOnce = AfterValidator(_each_once)


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
    def build(cls, **values: Any) -> Self:
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise UserError(
                f"{field}={first.get('input')!r} does not fit {cls.__name__}: {first['msg']}."
            ) from error


def parse_changes(pairs: list[str]) -> dict[str, Any]:
    """`["field=value", …]` → dict: numbers, true, false and null as such, `a,b` as a tuple."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes field=value, not {pair!r}.")
        parts = [_plain(part.strip()) for part in value.split(",")]
        changes[field.strip()] = parts[0] if len(parts) == 1 else tuple(p for p in parts if p != "")
    return changes


def _plain(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, str | list | dict) else value
