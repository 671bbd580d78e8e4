"""The number of images per class under a skew."""

import re

from rebalance_core.errors import UserError
from rebalance_core.training_sets.config import NO_SKEW_ALIASES

_TERM = re.compile(r"\s*(\S.*?)\s*=\s*(\d+)\s*(?:,|$)")  # class names may contain commas and "="


def skewed_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    """Return the number of images of each class under a skew, never more than available.

    step:ρ limits every other class to 1/ρ of the largest class; long:ρ decays exponentially from
    the largest class to 1/ρ of it, over the classes sorted by count. step:ρ@class names the class
    that stays whole, instead of the largest.
    """
    if skew in NO_SKEW_ALIASES:
        return dict(available)
    order = sorted(available, key=lambda c: -available[c])
    if match := re.fullmatch(r"(step|long):(\d+(?:\.\d+)?)(?:@(.+))?", skew):
        if (whole := match[3]) is not None:
            if whole not in available:
                raise UserError(
                    f"Skew {skew!r}: there is no class {whole!r}, only {', '.join(available)}."
                )
            order = [whole, *(c for c in order if c != whole)]
        largest = available[order[0]]
        rho = float(match[2])
        if rho < 1:
            raise UserError(f"Skew {skew!r}: the ratio must be at least 1.")
        exponents = {c: k / max(1, len(order) - 1) for k, c in enumerate(order)}
        shares = {
            c: (1.0 if k == 0 else 1 / rho) if match[1] == "step" else rho ** -exponents[c]
            for k, c in enumerate(order)
        }
        return {c: min(n, max(1, round(largest * shares[c]))) for c, n in available.items()}
    return _explicit_counts(skew, available)


def _explicit_counts(skew: str, available: dict[str, int]) -> dict[str, int]:
    counts = dict(available)
    terms = re.findall(_TERM, skew)
    if not terms or re.sub(_TERM, "", skew).strip() or skew.rstrip().endswith(","):
        raise UserError(
            f"Skew {skew!r} is not understood; write 'none', 'step:20', 'step:20@class', 'long:50' "
            "or 'class=number,class=number'."
        )
    for label, number in terms:
        if label not in available:
            raise UserError(
                f"Skew {skew!r}: there is no class {label!r}, only {', '.join(available)}."
            )
        if not 1 <= int(number) <= available[label]:
            raise UserError(
                f"Skew {skew!r}: {number} images of {label} is out of range; choose 1 to "
                f"{available[label]}."
            )
        counts[label] = int(number)
    return counts


def reduced_counts(
    available: dict[str, int], selected: dict[str, int], total: dict[str, int]
) -> dict[str, int]:
    """{class: number of validation images} in the proportion `selected` : `total` of training.

    At least one of a class that has any.
    """
    return {
        c: min(n, max(1, round(n * selected[c] / total[c]))) if total[c] else n
        for c, n in available.items()
    }


def limited_counts(counts: dict[str, int], limit: int | None) -> dict[str, int]:
    """Scale counts down in proportion so that they sum to at most `limit`, each at least 1."""
    total = sum(counts.values())
    if limit is None or total <= limit:
        return counts
    limited = {c: max(1, int(n * limit / total)) for c, n in counts.items()}
    largest = max(limited, key=lambda c: limited[c])  # compensates for classes raised to 1
    limited[largest] = max(1, limited[largest] - max(0, sum(limited.values()) - limit))
    return limited
