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
    first = asked if asked is not None and asked in options else options[0]
    value: str = st.selectbox(
        label,
        list(options),
        index=list(options).index(first),
        format_func=shown,
        # Another widget once the options change: what a run has just made can become the choice.
        key=f"{key}|{asked}|{len(options)}",
    )
    if asked in (None, first) or value != first:  # else: wait for what is still being made
        st.query_params[key] = value
    return value


def remember(key: str, value: str) -> None:
    """Make `value` the choice of `key` from the next rerun on."""
    st.query_params[key] = value
