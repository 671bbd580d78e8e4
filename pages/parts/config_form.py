"""A form for any config: one widget a field, by its type."""

from typing import Any, Literal, get_args, get_origin

import streamlit as st

from rebalance_core.config import Config


def config_form(config: Config, fields: list[str], key: str, columns: int = 4) -> dict[str, Any]:
    """Widgets for `fields`, starting from `config`; returns what was changed."""
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
    told = st.text_input(label, "" if value is None else _text(value), key=key)
    if isinstance(value, tuple):
        parts = tuple(p.strip() for p in told.split(",") if p.strip())
        return value if told == _text(value) else parts
    return told or None


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
