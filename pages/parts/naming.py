"""Text field for a new name, prefilled with a suggestion."""

import streamlit as st

from rebalance_core.workspace import MAX_NAME_LENGTH


def name_field(label: str, suggestion: str, key: str) -> str:
    """Render a text field that follows `suggestion` until the user types another name.

    A slow browser may still send an earlier suggestion, which does not count as typed. Clearing the
    field restores the suggestion.
    """
    suggestion = suggestion[:MAX_NAME_LENGTH]
    suggestions: set[str] = st.session_state.setdefault(f"{key} suggestions", {""})
    suggestions.add(suggestion)
    value = st.session_state.get(key, "")
    name = suggestion if value in suggestions else value
    # Set the value only if it differs from what the browser holds or may still receive; otherwise
    # it would overwrite text while it is being typed.
    if name != value or name != st.session_state.get(f"{key} rendered"):
        st.session_state[key] = st.session_state[f"{key} rendered"] = name
    return st.text_input(label, key=key)
