"""The JSON line that every benchmark prints, and its exit code."""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict


class Guard(NamedTuple):
    """A measured value that is reported, and whether it is within its limit."""

    value: object
    holds: bool


class Medians(TypedDict):
    """The three figures of `report` that compare both sides."""

    ours: float
    theirs: float
    ratio: float


def medians(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    digits: int = 2,
    ratio: Literal["theirs / ours", "ours / theirs"] = "theirs / ours",
) -> Medians:
    """Median of each side and of the ratio within the pairs, rounded for `report`.

    Args:
        ours: measurements of our side.
        theirs: measurements of the other side, each paired with the one of ours at its index.
        digits: decimal places of the two medians; the ratio has two.
        ratio: which side divides which.
    """
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [t / o if ratio == "theirs / ours" else o / t for o, t in pairs]
    return {
        "ours": round(statistics.median(ours), digits),
        "theirs": round(statistics.median(theirs), digits),
        "ratio": round(statistics.median(ratios), 2),
    }


def report(
    *,
    claim: str,
    ours: float,
    theirs: float,
    unit: str,
    ratio: float,
    target: float | None,
    guards: Mapping[str, object],
    target_met: bool = True,
    **details: object,
) -> int:
    """Print the result as one JSON line; the exit code is 1 if a guard or the target fails.

    A guard is a `Guard`, or a bool that is both value and verdict; any other value is only
    reported. Leave `target_met` True if timings vary too much to enforce the target.
    """
    result = {
        "claim": claim,
        "ours": ours,
        "theirs": theirs,
        "unit": unit,
        "ratio": ratio,
        "target": target,
        "guards": {name: g.value if isinstance(g, Guard) else g for name, g in guards.items()},
        **details,
    }
    print(json.dumps(result))
    failed = [] if target_met else [f"target {target}"]
    failed += [name for name, guard in guards.items() if not _holds(guard)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _holds(guard: object) -> bool:
    return bool(guard.holds) if isinstance(guard, Guard) else guard is not False
