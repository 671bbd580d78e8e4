"""Differences between arms: each to the baseline, and each generated one to the reference."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rebalance_core.comparison.arms import BASELINE
from rebalance_core.comparison.records import Contrast, Row
from rebalance_core.comparison.statistics import paired_test


def find_reference(rows: Iterable[Row]) -> Row | None:
    """The free row with the best mean validation score; the first on a tie, None without free rows.

    The mean is over the seeds that all free rows have in common, so that a failed seed neither
    helps nor removes a row; without common seeds, over each row's own.
    """
    free = [row for row in rows if row.free]
    common = set.intersection(*(set(row.seeds) for row in free)) if free else set()

    def mean_score(row: Row) -> float:
        scores = dict(zip(row.seeds, row.validation_scores, strict=True))
        return float(np.mean([scores[seed] for seed in (common or scores)]))

    return max(free, key=mean_score, default=None)


def with_contrasts(rows: Sequence[Row]) -> list[Row]:
    """Add to each row its differences in points of the primary measure, with interval and p.

    `gain*` and `p*` are to the baseline; `reference` is a generated row's contrast with the
    reference, where that is not the baseline. All contrasts of rows with a seed in common are
    corrected together (Bonferroni).
    """
    baseline = next((row for row in rows if row.arm == BASELINE), None)
    reference = find_reference(rows)
    distinct = None if reference is baseline else reference
    pairs = [(row, None if row is baseline else baseline) for row in rows]
    pairs += [(row, distinct) for row in rows if row.is_generated]
    number = sum(bool(_paired_gains(row, other)) for row, other in pairs)
    return [
        row.model_copy(
            update={
                **_baseline_fields(_contrast(row, None if row is baseline else baseline, number)),
                "reference": _contrast(row, distinct, number)
                if distinct is not None and row.is_generated
                else None,
                "is_reference": row is reference,
                "contrasts": number,
            }
        )
        for row in rows
    ]


def _baseline_fields(contrast: Contrast) -> dict[str, Any]:
    """The fields of a row that hold its contrast with the baseline."""
    return {
        "gains": contrast.gains,
        "gain": contrast.gain,
        "gain_interval": contrast.interval,
        "p": contrast.p,
        "p_corrected": contrast.p_corrected,
    }


def _paired_gains(row: Row, other: Row | None) -> list[float]:
    """Differences of `row` to `other` in points, at the seeds that both have."""
    scores = {} if other is None else dict(zip(other.seeds, other.scores, strict=True))
    return [
        100 * (score - scores[seed])
        for seed, score in zip(row.seeds, row.scores, strict=True)
        if seed in scores
    ]


def _contrast(row: Row, other: Row | None, number: int) -> Contrast:
    """Test `row` against `other`, corrected for `number` contrasts."""
    gains = _paired_gains(row, other)
    test = paired_test(gains, number)
    return Contrast(
        gains=gains,
        gain=float(np.mean(gains)) if gains else None,
        interval=None if test is None else list(test.interval),
        p=None if test is None else test.p,
        p_corrected=None if test is None else test.p_corrected,
    )


def baseline_contrasts(rows: Iterable[Row]) -> dict[str, Contrast]:
    """{arm: contrast with the baseline}, for every arm that has one."""
    return {row.name: row.baseline_contrast for row in rows if row.gain is not None}


def reference_contrasts(rows: Iterable[Row]) -> dict[str, Contrast]:
    """{generated arm: contrast with the reference}; empty if the reference is the baseline."""
    return {
        row.name: row.reference
        for row in rows
        if row.reference is not None and row.reference.gain is not None
    }


def describe_outcome(contrast: Contrast) -> str:
    """The outcome as text: `wins`, `loses`, `cannot be tested` or not significant."""
    if contrast.p is None or contrast.gain is None:
        return "cannot be tested"
    if not contrast.is_significant:
        return f"nothing can be said with {len(contrast.gains)} seeds"
    return "wins" if contrast.gain > 0 else "loses"


def is_gain_proven(rows: Sequence[Row]) -> bool:
    """Whether the comparison shows a significant gain.

    With generated arms: one of them, of verified origin, beats the baseline and the reference, and
    at least one remedy was compared. Without generated arms: a remedy beats the baseline.
    """
    generated = [row for row in rows if row.is_generated]
    if not generated:
        return any(row.baseline_contrast.is_gain for row in rows)
    reference = find_reference(rows)
    remedies = [row for row in rows if row.free and row.arm != BASELINE]
    if not remedies or reference is None:
        return False
    return any(
        row.baseline_contrast.is_gain
        and (reference.arm == BASELINE or (row.reference is not None and row.reference.is_gain))
        and not row.unverified
        for row in generated
    )
