"""Which epochs see which images (paper sections 3.3 and 5.4, Figures 5 to 7)."""

import re
from dataclasses import dataclass
from typing import Literal

from rebalance_core.errors import UserError

Epoch = Literal["both", "real", "synthetic"]  # the images that an epoch shows
HALF = "half"
_FORM = re.compile(rf"(until|real-every|pretrain):(\d+|{HALF})")


@dataclass(frozen=True)
class Schedule:
    """`always`, `until:N` (synthetic images in epochs 1 to N), `real-every:K` (all epochs but
    1, 1 + K, …) or `pretrain:N` (epochs 1 to N synthetic only, then real only); `until:half` and
    `pretrain:half` change in the middle. `number` 0 is half."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        if text == "always":
            return cls("always")
        match = _FORM.fullmatch(text)
        least = {"until": 1, "pretrain": 1, "real-every": 2}
        half = match is not None and match[2] == HALF
        if match is None or (half and match[1] == "real-every"):
            raise _not_understood(text)
        if not half and int(match[2]) < least[match[1]]:
            raise _not_understood(text)
        return cls(match[1], 0 if half else int(match[2]))

    def epochs(self, count: int) -> tuple[Epoch, ...]:
        """What each of `count` epochs shows."""
        return tuple(self._shows(epoch, self.number or count // 2) for epoch in range(1, count + 1))

    def _shows(self, epoch: int, number: int) -> Epoch:
        if self.kind == "until":
            return "both" if epoch <= number else "real"
        if self.kind == "pretrain":
            return "synthetic" if epoch <= number else "real"
        if self.kind == "real-every":
            return "real" if (epoch - 1) % number == 0 else "both"
        return "both"

    def __str__(self) -> str:
        return self.kind if self.kind == "always" else f"{self.kind}:{self.number or HALF}"

    @property
    def words(self) -> str:
        if self.kind == "always":
            return "always"
        if self.kind == "real-every":
            return f"every {_ordinal(self.number)} epoch real only"
        when = f"until epoch {self.number}" if self.number else "until halfway"
        return when if self.kind == "until" else f"synthetic only {when}, then real"


def _not_understood(text: str) -> UserError:
    return UserError(
        f"Schedule {text!r} is not understood; write always, until:10, until:half, real-every:4, "
        "pretrain:10 or pretrain:half."
    )


def _ordinal(number: int) -> str:
    tail = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{tail}"
