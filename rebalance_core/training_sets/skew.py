"""Images per class that a skew keeps."""

import re

from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import NO_SKEW

_TERM = re.compile(r"\s*(\S.*?)\s*=\s*(\d+)\s*(?:,|$)")  # a class may hold commas and signs


def skewed_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    """{class: images kept} for a skew in words, never more than there are.

    step:ρ keeps 1/ρ of the largest class's count in every other class; long:ρ falls
    exponentially from the largest class to 1/ρ of it, classes ordered by their count.
    """
    if skew in (NO_SKEW, "as-it-is"):
        return dict(available)
    most = max(available.values())
    order = sorted(available, key=lambda c: -available[c])
    if match := re.fullmatch(r"(step|long):(\d+(?:\.\d+)?)", skew):
        rho = float(match[2])
        if rho < 1:
            raise UserError(f"Skew {skew!r}: the ratio must be at least 1.")
        steps = {c: k / max(1, len(order) - 1) for k, c in enumerate(order)}
        shares = {
            c: (1.0 if k == 0 else 1 / rho) if match[1] == "step" else rho ** -steps[c]
            for k, c in enumerate(order)
        }
        return {c: min(n, max(1, round(most * shares[c]))) for c, n in available.items()}
    return _explicit_counts(skew, available)


def _explicit_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    kept = dict(available)
    terms = re.findall(_TERM, skew)
    if not terms or re.sub(_TERM, "", skew).strip() or skew.rstrip().endswith(","):
        raise UserError(
            f"Skew {skew!r} is not understood; write 'as it is', 'step:20', 'long:50' or "
            "'class=number,class=number'."
        )
    for label, number in terms:
        if label not in available:
            raise UserError(f"Skew names class {label!r}; there are {', '.join(available)}.")
        if not 1 <= int(number) <= available[label]:
            raise UserError(
                f"Skew wants {number} images of {label}; training has 1 to {available[label]}."
            )
        kept[label] = int(number)
    return kept


def limited_counts(counts: dict[str, int], limit: int | None) -> dict[str, int]:
    """Scale counts down in proportion so that they sum to at most `limit`, each at least 1."""
    total = sum(counts.values())
    if limit is None or total <= limit:
        return counts
    limited = {c: max(1, int(n * limit / total)) for c, n in counts.items()}
    largest = max(limited, key=lambda c: limited[c])  # gives what the classes of one image take
    limited[largest] = max(1, limited[largest] - max(0, sum(limited.values()) - limit))
    return limited
