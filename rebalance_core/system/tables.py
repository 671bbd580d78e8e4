"""CSV tables for people, who open them in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(
    lines: Sequence[Mapping[str, Any]], columns: Iterable[str] = (), end: str = "\n"
) -> str:
    """Format lines as CSV: `columns` first, then every other column that any line has.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    names = dict.fromkeys([*columns, *(name for line in lines for name in line)])
    text = io.StringIO()
    plain = csv.writer(text, lineterminator=end)
    quoted = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    for line in [{name: name for name in names}, *lines]:
        cells = [neutralise(line.get(name, "")) for name in names]
        # Before Python 3.13, csv quotes a carriage return only if it is part of the line's end.
        has_return = any("\r" in cell for cell in cells if isinstance(cell, str))
        (quoted if has_return else plain).writerow(cells)
    return text.getvalue()


def neutralise(value: Any) -> Any:
    """A cell as it is, or with an apostrophe in front if it begins like a formula."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value)
    return f"'{value}" if is_formula else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
