"""The first line of errors of libraries, for one sentence."""

import pytest

from rebalance_core.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("not a number"), "not a number"),
        (RuntimeError("sizes differ:\n\tweight: (2,)\n\tbias: (3,)"), "sizes differ:"),
        (RuntimeError("\n\n  sizes differ  \nmore"), "sizes differ"),
        (RuntimeError("sizes differ\r\nmore"), "sizes differ"),
        (EOFError(), "EOFError"),
        (ValueError(""), "ValueError"),
        (ValueError(" \n\t\n"), "ValueError"),
        (
            OSError(2, "No such file or directory", "a.json"),
            "[Errno 2] No such file or directory: 'a.json'",
        ),
        (KeyError("network"), "'network'"),
    ],
)
def test_the_first_line_with_text_or_else_the_name_of_the_class(
    error: Exception, line: str
) -> None:
    assert first_line(error) == line
