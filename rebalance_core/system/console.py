"""The standard streams of a process."""

import io
import sys


def escape_unprintable() -> None:
    """Print characters that the console's encoding lacks as `\\u…`, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
