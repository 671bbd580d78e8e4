"""The one line that a benchmark prints, and its exit code."""

import json
import sys
from collections.abc import Mapping
from typing import NamedTuple


class Guard(NamedTuple):
    """A measured value that is reported, and whether it is within its limit."""

    value: object
    holds: bool


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
    reported. `target_met` stays True where timings vary too much to enforce the target.
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
