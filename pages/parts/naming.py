"""A field for the name of something new, filled in with a suggestion."""

import streamlit as st

from rebalance_core.workspace import MAX_NAME_LENGTH


def name_field(label: str, suggestion: str, key: str) -> str:
    """A text field that holds the suggestion, until somebody types another name.

    A slow browser may still send any earlier suggestion; none of them was typed. Clearing the field
    brings the suggestion back.
    """
    suggestion = suggestion[:MAX_NAME_LENGTH]
    suggested: set[str] = st.session_state.setdefault(f"{key} suggested", {""})
    suggested.add(suggestion)
    sent = st.session_state.get(key, "")
    name = suggestion if sent in suggested else sent
    # Set where it differs from what the browser holds, or may yet receive: no other time, as that
    # would replace what is being typed.
    if name != sent or name != st.session_state.get(f"{key} drawn"):
        st.session_state[key] = st.session_state[f"{key} drawn"] = name
    return st.text_input(label, key=key)
