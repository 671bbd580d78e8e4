"""Choices that survive a reload: kept in the page's address."""

from collections.abc import Callable, Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def choose(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    shown: Callable[[str], str] = str,
    default: str | None = None,
) -> str:
    """A select box whose value stands in the address under `key`; options must not be empty."""
    asked = _asked(key)
    if asked is None:
        asked = default
    first = asked if asked is not None and asked in options else options[0]
    value: str = st.selectbox(
        label,
        list(options),
        index=list(options).index(first),
        format_func=shown,
        # Another widget once the options change: what a run has just made can become the choice.
        key=f"{key}|{asked}|{len(options)}",
    )
    if value != first:
        remember(key, value)
    elif asked in (None, first):  # else: wait for what is still being made
        st.query_params[key] = value
    return value


def remember(key: str, value: str) -> None:
    """Make `value` the choice of `key` from the next rerun on."""
    st.session_state[_kept(key)] = (_page(), st.query_params.get(key), value)
    st.query_params[key] = value


def _asked(key: str) -> str | None:
    """The choice in the address. Until a browser has heard of what was remembered, which takes a
    while on a slow line, all it sends (a click, a live view's tick) bears the address from before:
    that must not undo the choice. Back to it does, and so does another page."""
    asked = st.query_params.get(key)
    page, before, value = st.session_state.get(_kept(key), (None, None, None))
    if page is None or asked == value:
        return asked
    context = get_script_run_ctx()
    went_back = context is not None and context.is_history_navigation
    if (page, before) == (_page(), asked) and not went_back:
        st.query_params[key] = value
        return str(value)
    del st.session_state[_kept(key)]
    return asked


def _kept(key: str) -> str:
    return f"chosen {key}"


def _page() -> str:
    context = get_script_run_ctx()
    return "" if context is None else context.page_script_hash
