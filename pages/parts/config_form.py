"""A form for any config: one widget per field, by its type."""

from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo

from rebalance_core.config import Config
from rebalance_core.generators.spec import SamplingOptions

DEFAULT = "generator default"  # placeholder of an option that is not set


def config_form(config: Config, fields: list[str], key: str, columns: int = 4) -> dict[str, Any]:
    """Widgets for `fields`, with the values of `config`; returns the changed ones."""
    changes = {}
    places = st.columns(columns)
    for number, field in enumerate(fields):
        before = getattr(config, field)
        with places[number % columns]:
            after = _widget(config, field, before, f"{key} {field}")
        if after != before:
            changes[field] = after
    return changes


def _widget(config: Config, field: str, value: Any, key: str) -> Any:
    kind = type(config).model_fields[field].annotation
    label = field.replace("_", " ")
    if get_origin(kind) is Literal:
        options = list(get_args(kind))
        return st.selectbox(label, options, options.index(value), key=key)
    if isinstance(value, bool):
        return st.checkbox(label, value, key=key)
    if isinstance(value, int):
        return st.number_input(label, value=value, step=1, key=key)
    if isinstance(value, float):
        return st.number_input(label, value=value, format="%g", step=value / 10 or 0.1, key=key)
    text = st.text_input(label, "" if value is None else _text(value), key=key)
    if isinstance(value, tuple):
        parts = tuple(p.strip() for p in text.split(",") if p.strip())
        return value if text == _text(value) else parts
    return text or None


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def options_form(options: type[SamplingOptions], key: str, columns: int = 4) -> dict[str, Any]:
    """One widget per sampling option; returns the values that were set."""
    values = {}
    places = st.columns(columns)
    for number, (name, field) in enumerate(options.model_fields.items()):
        with places[number % columns]:
            value = _option(name, field, f"{name} {key}")
        if value not in (None, ""):
            values[name] = value
    return values


def _option(name: str, field: FieldInfo, key: str) -> Any:
    """A widget that is empty where the generator's default is used."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind = kinds[0] if kinds else field.annotation
    label, description = field.title or name.replace("_", " "), field.description
    if get_origin(kind) is Literal:
        choices = list(get_args(kind))
        return st.selectbox(label, choices, None, placeholder=DEFAULT, key=key, help=description)
    if kind is bool:
        return st.selectbox(
            label, [True, False], None, placeholder=DEFAULT, key=key, help=description
        )
    if kind in (int, float):
        minimum, maximum = _bounds(field, kind)
        return st.number_input(
            label,
            minimum,
            maximum,
            None,
            kind(1) if kind is int else 0.1,
            placeholder=DEFAULT,
            key=key,
            help=description,
        )
    return st.text_input(label, placeholder=DEFAULT, key=key, help=description)


def _bounds(field: FieldInfo, kind: Any) -> tuple[Any, Any]:
    """(minimum, maximum) of a number, None where there is no bound."""
    limits: dict[str, Any] = {}
    for rule in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (limit := getattr(rule, name, None)) is not None:
                limits[name] = kind(limit)
    return limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
