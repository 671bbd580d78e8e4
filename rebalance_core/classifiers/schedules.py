"""Schedules of real and synthetic epochs (paper sections 3.3 and 5.4, Figures 5 to 7)."""

import re
from dataclasses import dataclass
from typing import Literal

from rebalance_core.errors import UserError

Epoch = Literal["both", "real", "synthetic"]  # the images of an epoch
HALF = "half"
_FORM = re.compile(rf"(until|real-every|pretrain):(\d+|{HALF})")


@dataclass(frozen=True)
class Schedule:
    """The epochs in which an arm uses its synthetic images.

    `always`; `until:N`: epochs 1 to N; `real-every:K`: all epochs but 1, 1 + K, …; `pretrain:N`:
    epochs 1 to N synthetic only, then real only. `until:half` and `pretrain:half` change after
    half of the epochs; `number` is 0 for them.
    """

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """The schedule of a text; raises UserError for an invalid one."""
        if text == "always":
            return cls("always")
        match = _FORM.fullmatch(text)
        minimum = {"until": 1, "pretrain": 1, "real-every": 2}
        is_half = match is not None and match[2] == HALF
        if match is None or (is_half and match[1] == "real-every"):
            raise _parse_error(text)
        if not is_half and int(match[2]) < minimum[match[1]]:
            raise _parse_error(text)
        return cls(match[1], 0 if is_half else int(match[2]))

    def epochs(self, count: int) -> tuple[Epoch, ...]:
        """The images of each of `count` epochs."""
        return tuple(
            self._images_of(epoch, self.number or count // 2) for epoch in range(1, count + 1)
        )

    def _images_of(self, epoch: int, number: int) -> Epoch:
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


def _parse_error(text: str) -> UserError:
    return UserError(
        f"Schedule {text!r} is not understood; write always, until:10, until:half, real-every:4, "
        "pretrain:10 or pretrain:half."
    )


def _ordinal(number: int) -> str:
    tail = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{tail}"
