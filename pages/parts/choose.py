"""Choices that survive a reload: kept in the page's address."""

from collections.abc import Callable, Sequence

import streamlit as st


def choose(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    shown: Callable[[str], str] = str,
    default: str | None = None,
) -> str:
    """A select box whose value stands in the address under `key`; options must not be empty."""
    asked = st.query_params.get(key, default)
    if asked is None or asked not in options:
        asked = options[0]
    # A widget key per option list: a new option (a run just started) can become the choice.
    value: str = st.selectbox(
        label,
        list(options),
        index=list(options).index(asked),
        format_func=shown,
        key=f"{key}|{asked}|{len(options)}",
    )
    st.query_params[key] = value
    return value


def remember(key: str, value: str) -> None:
    """Make `value` the choice of `key` from the next rerun on."""
    st.query_params[key] = value
