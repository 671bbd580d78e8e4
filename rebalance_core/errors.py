"""The one exception that people see."""


class UserError(Exception):
    """One sentence: what is wrong, with which file or name, and how to mend it.

    The command line prints it and exits with 2; a page shows it in red.
    """
