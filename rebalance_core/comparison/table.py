"""The table of a comparison's results: the value and format of each column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rebalance_core.classifiers.measures import PRIMARY, Measure, measures, primary_measure
from rebalance_core.comparison.answer import format_p
from rebalance_core.comparison.records import Row

Kind = Literal["text", "count", "number", "points", "p"]


@dataclass(frozen=True)
class Column:
    """One column: its heading, the value of a row (None where unknown), and its format."""

    title: str
    value: Callable[[Row], Any]
    kind: Kind = "number"
    decimals: int = 2
    help: str = ""

    @property
    def printf(self) -> str:
        """The printf format of a number."""
        return "%d" if self.kind == "count" else f"%.{self.decimals}f"

    def format(self, value: Any) -> str:
        """Format a value as text; a dash where it is unknown."""
        if value is None:
            return "–"
        if self.kind in ("text", "count"):
            return str(value)
        if self.kind == "p":
            return format_p(value)
        if self.kind == "points":
            return f"{round(value, self.decimals) + 0.0:+.{self.decimals}f}"
        return f"{value:.{self.decimals}f}"


def columns() -> list[Column]:
    """List every possible column.

    The primary measure and its contrasts come first, then the other measures in the order of the
    catalogue, then the paper's figures.
    """
    primary = primary_measure()
    others = [measure for key, measure in measures().items() if key != PRIMARY]
    return [
        Column("Arm", lambda row: row.name, "text"),
        _measure_column(primary),
        Column("± SD", lambda row: primary.shown(row.macro_f1_std), decimals=primary.decimals),
        Column("Gain over baseline", lambda row: row.gain, "points"),
        Column("95 % from", lambda row: _end(row.gain_interval, 0), "points"),
        Column("95 % to", lambda row: _end(row.gain_interval, 1), "points"),
        Column("p, corrected", lambda row: row.p_corrected, "p", 3),
        Column("Gain over reference", lambda row: row.reference and row.reference.gain, "points"),
        Column("Reference: 95 % from", lambda row: _reference_end(row, 0), "points"),
        Column("Reference: 95 % to", lambda row: _reference_end(row, 1), "points"),
        Column(
            "Reference: p, corrected",
            lambda row: row.reference and row.reference.p_corrected,
            "p",
            3,
        ),
        Column(
            f"Validation {primary.title}",
            lambda row: primary.shown(row.validation_macro_f1),
            decimals=primary.decimals,
            help=primary.direction,
        ),
        *map(_measure_column, others),
        Column("Swing", lambda row: _percent(row.validation_swing)),
        Column("Last epoch", lambda row: _percent(row.last_test_accuracy), help="Accuracy at it."),
        Column("Updates", lambda row: row.updates, "count", help="Per seed."),
        Column("Images seen", lambda row: row.images_seen, "count", help="Per seed."),
        Column("Minutes", _minutes, decimals=1),
        Column("Best epoch (chosen on test)", lambda row: _percent(row.best_test_accuracy)),
        Column("… of 20", lambda row: _percent(row.best_test_accuracy_20_epochs)),
        Column("… of 30", lambda row: _percent(row.best_test_accuracy_30_epochs)),
        Column("The paper's", lambda row: row.paper_accuracy),
        Column("Seeds", lambda row: len(row.seeds), "count"),
    ]


def table(rows: Sequence[Row]) -> tuple[list[Column], list[list[Any]]]:
    """The columns in which any row has a value, and one line of values per row.

    Percent, points and minutes are numbers; unknown values are None.
    """
    present = [c for c in columns() if any(c.value(row) is not None for row in rows)]
    lines = [[column.value(row) for column in present] for row in rows]
    if any(row.reference for row in rows):
        lines[next(k for k, row in enumerate(rows) if row.is_reference)][0] += " (reference)"
    return present, lines


def _measure_column(measure: Measure) -> Column:
    return Column(
        measure.heading,
        lambda row: measure.shown(row.measures.get(measure.key)),
        decimals=measure.decimals,
        help=measure.direction,
    )


def _end(interval: Sequence[float] | None, end: int) -> float | None:
    return None if interval is None else interval[end]


def _reference_end(row: Row, end: int) -> float | None:
    return None if row.reference is None else _end(row.reference.interval, end)


def _minutes(row: Row) -> float | None:
    """Minutes per seed including the generator; None if the generator's are unknown."""
    if row.generator_seconds is None:
        return None
    return (row.seconds + row.generator_seconds) / 60


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
