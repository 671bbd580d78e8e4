"""The one exception that people see."""


class UserError(Exception):
    """One sentence: what is wrong, with which file or name, and how to mend it.

    The command line prints it and exits with 2; a page shows it in red.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or the name of its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
