"""Selections that survive a reload, stored in the page's address.

The address is read on arrival at a page: by a link, a reload or Back. From then on the session
state has priority, because a browser on a slow connection sends addresses and widget values that
are older than the last response.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.parts.markdown import escape_markdown

# Session keys: the open page, its selections, the training set saved on it.
PAGE, CHOICES, SAVED = "open page", "choices", "saved set"
_NUMBERS = count()


@dataclass
class Choice:
    """One selection on the open page."""

    requested: str | None = None  # by the address or the page; may not be an option yet
    value: str = ""  # rendered last, in the widget of this key and with this label
    widget: str = "none yet"
    label: str = ""
    addresses: set[str | None] = field(default_factory=lambda: {None})  # read or written here


def arrive() -> None:
    """On arrival at a page, discard the selections of another page; the address is read again."""
    context = get_script_run_ctx()
    page = "" if context is None else context.page_script_hash
    went_back = context is not None and context.is_history_navigation
    if went_back or st.session_state.get(PAGE) != page:
        st.session_state[PAGE] = page
        st.session_state[CHOICES] = {}
        st.session_state.pop(SAVED, None)


def choose(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    format_func: Callable[[str], str] = str,
    resets: str | None = None,
) -> str:
    """A select box whose value is stored in the address under `key`; options must not be empty.

    A selection by the user resets that of the key `resets`.
    """
    choice = _choice(key)
    current_value = st.session_state.get(choice.widget, choice.value)  # selected or last rendered
    if current_value != choice.value and current_value in options:
        choice.requested = None
        if resets is not None:
            _choices()[resets] = Choice(addresses=_choice(resets).addresses)
    candidates = (choice.requested, current_value, choice.value, options[0])
    value = next(each for each in candidates if each is not None and each in options)
    renamed = value == choice.value and format_func(value) != choice.label
    if value != current_value or renamed:
        # A new widget, so that values that a browser still sends for the old one have no effect.
        # A selection by the user keeps the widget: its value would be lost.
        choice.widget = f"{key} {next(_NUMBERS)}"
    choice.value = st.selectbox(
        label, list(options), list(options).index(value), format_func=format_func, key=choice.widget
    )
    choice.label = format_func(choice.value)
    if choice.requested == choice.value:
        choice.requested = None
    _write(key, choice.requested or choice.value)  # a requested option may not exist yet
    if choice.requested is not None:
        missing, shown = map(escape_markdown, (choice.requested, choice.label))
        st.caption(f"{label} {missing} is not here, or not yet; {shown} is shown.")
    return choice.value


def remember(key: str, value: str) -> None:
    """Select `value` for `key` as soon as it is among the options."""
    choice = _choice(key)
    choice.value = st.session_state.get(choice.widget, choice.value)
    choice.requested = value
    _write(key, value)


def current(key: str) -> str | None:
    """The selection of `key`, or the requested one."""
    choice = _choice(key)
    return choice.requested or choice.value or None


def _choice(key: str) -> Choice:
    """The selection of `key` since arrival; a new address is a request."""
    choice = _choices().setdefault(key, Choice())
    address = st.query_params.get(key)
    if address not in choice.addresses:
        choice.addresses.add(address)
        choice.requested = address
    return choice


def _choices() -> dict[str, Choice]:
    choices: dict[str, Choice] = st.session_state.setdefault(CHOICES, {})
    return choices


def _write(key: str, value: str) -> None:
    _choice(key).addresses.add(value)
    if st.query_params.get(key) != value:
        st.query_params[key] = value
