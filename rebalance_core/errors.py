"""The exception whose message is shown to users."""


class UserError(Exception):
    """An expected error: one sentence with what is wrong, where, and how to fix it.

    The command line prints it and exits with status 2; a page shows it as an error.
    """


def first_line(error: BaseException) -> str:
    """The first non-blank line of an error's message, or else the name of its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
