"""Differences between arms: each to the baseline, and each generated one to the reference."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rebalance_core.comparison.arms import BASELINE
from rebalance_core.comparison.statistics import SIGNIFICANT, paired_test

Row = dict[str, Any]


def is_generated(row: Mapping[str, Any]) -> bool:
    """Whether the row's arm adds images of a generator that learned something."""
    return not row["free"]


def reference_of(rows: Iterable[Row]) -> Row | None:
    """The free row with the best mean validation macro-F1, the first if they tie; None without a
    free row. The mean is over the seeds that all free rows have, so that a failed seed neither
    helps nor removes a row; where there are none, over each row's own."""
    free = [row for row in rows if row["free"]]
    common = set.intersection(*(set(row["seeds"]) for row in free)) if free else set()

    def mean_score(row: Row) -> float:
        scores = dict(zip(row["seeds"], row["validation_scores"], strict=True))
        return float(np.mean([scores[seed] for seed in (common or scores)]))

    return max(free, key=mean_score, default=None)


def add_contrasts(rows: list[Row]) -> None:
    """Fill in every row's differences, in points of macro-F1, with interval and p.

    `gain*` and `p*` are to the baseline; `reference` holds a generated row's contrast with the
    reference, where that is not the baseline. All contrasts of rows with a seed in common are
    corrected together (Bonferroni).
    """
    baseline = next((row for row in rows if row["arm"] == BASELINE), None)
    reference = reference_of(rows)
    compared = None if reference is baseline else reference
    pairs = [(row, None if row is baseline else baseline) for row in rows]
    pairs += [(row, compared) for row in rows if is_generated(row)]
    number = sum(bool(_gains(row, other)) for row, other in pairs)
    for row in rows:
        contrast = _contrast(row, None if row is baseline else baseline, number)
        row["gain_interval"] = contrast.pop("interval")
        row.update(contrast)
        generated = compared is not None and is_generated(row)
        row["reference"] = _contrast(row, compared, number) if generated else None
        row["is_reference"] = row is reference
        row["contrasts"] = number


def _gains(row: Row, other: Row | None) -> list[float]:
    """Differences of `row` to `other` in points, at the seeds that both have."""
    scores = {} if other is None else dict(zip(other["seeds"], other["scores"], strict=True))
    return [
        100 * (score - scores[seed])
        for seed, score in zip(row["seeds"], row["scores"], strict=True)
        if seed in scores
    ]


def _contrast(row: Row, other: Row | None, number: int) -> dict[str, Any]:
    """The test of `row` against `other`, as one of `number`."""
    gains = _gains(row, other)
    test = paired_test(gains, number)
    return {
        "gains": gains,
        "gain": float(np.mean(gains)) if gains else None,
        "interval": None if test is None else test.interval,
        "p": None if test is None else test.p,
        "p_corrected": None if test is None else test.p_corrected,
    }


def baseline_contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's contrast with the baseline, in the form that `reference` has."""
    return {
        "gains": row["gains"],
        "gain": row["gain"],
        "interval": row["gain_interval"],
        "p": row["p"],
        "p_corrected": row["p_corrected"],
    }


def baseline_contrasts(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """{arm: its contrast with the baseline}, of every arm that has one."""
    return {row["name"]: baseline_contrast(row) for row in rows if row["gain"] is not None}


def reference_contrasts(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """{generated arm: its contrast with the reference}; empty where that is the baseline."""
    return {
        row["name"]: row["reference"]
        for row in rows
        if row["reference"] is not None and row["reference"]["gain"] is not None
    }


def is_shown(contrast: Mapping[str, Any] | None) -> bool:
    """Whether the difference is shown: its corrected p is below the level."""
    p = None if contrast is None else contrast["p_corrected"]
    return p is not None and p < SIGNIFICANT


def is_gain(contrast: Mapping[str, Any] | None) -> bool:
    return is_shown(contrast) and contrast is not None and contrast["gain"] > 0


def outcome(contrast: Mapping[str, Any]) -> str:
    """`wins`, `loses`, `cannot be tested`, or that the seeds cannot tell."""
    if contrast["p"] is None:
        return "cannot be tested"
    if not is_shown(contrast):
        return f"nothing can be said with {len(contrast['gains'])} seeds"
    return "wins" if contrast["gain"] > 0 else "loses"


def proven_gain(rows: Sequence[Row]) -> bool:
    """Whether the comparison shows what it was made to look for.

    With generated arms, that one of them, of verified origin, beats the baseline and the reference,
    where there is a remedy to be beaten; without generated arms, that a remedy beats the baseline.
    """
    generated = [row for row in rows if is_generated(row)]
    if not generated:
        return any(is_gain(baseline_contrast(row)) for row in rows)
    reference = reference_of(rows)
    remedies = [row for row in rows if row["free"] and row["arm"] != BASELINE]
    if not remedies or reference is None:
        return False
    return any(
        is_gain(baseline_contrast(row))
        and (reference["arm"] == BASELINE or is_gain(row["reference"]))
        and not row["unverified"]
        for row in generated
    )
