"""Which epochs see synthetic images (paper sections 3.3 and 5.4, Figures 5 to 7)."""

import re
from dataclasses import dataclass

from rebalance_core.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """`always`, `until:N` (epochs 1 to N) or `real-every:K` (all but epochs 1, 1 + K, …)."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        if text == "always":
            return cls("always")
        match = re.fullmatch(r"(until|real-every):(\d+)", text)
        if not match or int(match[2]) < (1 if match[1] == "until" else 2):
            raise UserError(
                f"Schedule {text!r} is not understood; write always, until:10 or real-every:4."
            )
        return cls(match[1], int(match[2]))

    def mask(self, epochs: int) -> tuple[bool, ...]:
        """For each epoch, whether it sees synthetic images."""
        numbers = range(1, epochs + 1)
        if self.kind == "until":
            return tuple(e <= self.number for e in numbers)
        if self.kind == "real-every":
            return tuple((e - 1) % self.number != 0 for e in numbers)
        return (True,) * epochs

    def __str__(self) -> str:
        return self.kind if self.kind == "always" else f"{self.kind}:{self.number}"

    @property
    def words(self) -> str:
        if self.kind == "until":
            return f"until epoch {self.number}"
        if self.kind == "real-every":
            return f"every {_ordinal(self.number)} epoch real only"
        return "always"


def _ordinal(number: int) -> str:
    tail = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{tail}"
