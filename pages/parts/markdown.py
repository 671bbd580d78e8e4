"""Untrusted text, such as file names in an archive, displayed literally."""

import re


def escape_markdown(text: str) -> str:
    """Escape `text` for Streamlit's Markdown, so that it produces no image, link or code.

    The browser would download an image from any server, which would reveal that it was viewed.
    """
    return re.sub(r"([\\\[\]`*<>]|:(?=//))", r"\\\1", text)
