"""Text that others wrote, such as names in an archive, shown as it is."""

import re


def plain(text: str) -> str:
    """`text` for a place that reads Markdown: no picture, link or code comes of it.

    A picture would be fetched from wherever the text says, and so tell that it was looked at.
    """
    return re.sub(r"([\\\[\]`*<>]|:(?=//))", r"\\\1", text)
