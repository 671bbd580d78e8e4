"""Choices that survive a reload: kept in the page's address.

The address counts when somebody comes to a page, by a link, a reload or Back. From then on the
session knows better: a browser on a slow line sends addresses, and values of widgets, from before
it received the last answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

# Session keys: where somebody is; what is chosen there; the training set that was saved there.
PAGE, CHOICES, SAVED = "open page", "choices", "saved set"
_NUMBERS = count()


@dataclass
class Choice:
    """One choice on the page that is open."""

    wanted: str | None = None  # asked for by the address or the page; perhaps not made yet
    value: str = ""  # shown last, in the widget of this key and with this label
    widget: str = "none yet"
    label: str = ""
    addresses: set[str | None] = field(default_factory=lambda: {None})  # seen or written here


def arrive() -> None:
    """Forget what was chosen and saved elsewhere, or before Back; the address counts anew."""
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
    """A select box whose value stands in the address under `key`; options must not be empty.

    A pick makes the choice of the key `resets` void.
    """
    choice = _choice(key)
    held = st.session_state.get(choice.widget, choice.value)  # a pick, or what was shown last
    if held != choice.value and held in options:
        choice.wanted = None
        if resets is not None:
            _choices()[resets] = Choice(addresses=_choice(resets).addresses)
    candidates = (choice.wanted, held, choice.value, options[0])
    value = next(each for each in candidates if each is not None and each in options)
    renamed = value == choice.value and format_func(value) != choice.label
    if value != held or renamed:
        # Another widget, so that what a browser still sends for the one before has no effect. A
        # pick never makes another one: its value would be lost.
        choice.widget = f"{key} {next(_NUMBERS)}"
    choice.value = st.selectbox(
        label, list(options), list(options).index(value), format_func=format_func, key=choice.widget
    )
    choice.label = format_func(choice.value)
    if choice.wanted == choice.value:
        choice.wanted = None
    _write(key, choice.wanted or choice.value)  # what is still being made is waited for
    return choice.value


def remember(key: str, value: str) -> None:
    """Make `value` the choice of `key` as soon as it is among the options."""
    choice = _choice(key)
    choice.value = st.session_state.get(choice.widget, choice.value)
    choice.wanted = value
    _write(key, value)


def current(key: str) -> str | None:
    """The choice of `key`, or what is waited for."""
    choice = _choice(key)
    return choice.wanted or choice.value or None


def _choice(key: str) -> Choice:
    """The choice of `key` since somebody came here; an address that is new is wanted."""
    choice = _choices().setdefault(key, Choice())
    asked = st.query_params.get(key)
    if asked not in choice.addresses:
        choice.addresses.add(asked)
        choice.wanted = asked
    return choice


def _choices() -> dict[str, Choice]:
    found: dict[str, Choice] = st.session_state.setdefault(CHOICES, {})
    return found


def _write(key: str, value: str) -> None:
    _choice(key).addresses.add(value)
    if st.query_params.get(key) != value:
        st.query_params[key] = value
