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
    """The free row with the best mean validation macro-F1, the first if they tie.

    Only rows that finished the most seeds are candidates: means over other seeds do not compare.
    """
    free = [row for row in rows if row["free"]]
    most = max((len(row["seeds"]) for row in free), default=0)
    whole = [row for row in free if len(row["seeds"]) == most]
    return max(whole, key=lambda row: float(np.mean(row["validation_scores"])), default=None)


def add_contrasts(rows: list[Row]) -> None:
    """Fill in every row's differences, in points of macro-F1, with interval and p.

    `gain*` and `p*` are to the baseline; `reference` holds a generated row's contrast with the
    reference, where that is not the baseline. All contrasts are corrected together (Bonferroni).
    """
    baseline = next((row for row in rows if row["arm"] == BASELINE), None)
    reference = reference_of(rows)
    to_baseline = [row for row in rows if baseline is not None and row is not baseline]
    to_reference = [row for row in rows if is_generated(row) and reference not in (None, baseline)]
    number = len(to_baseline) + len(to_reference)
    for row in rows:
        of = _contrast(row, baseline, number) if row in to_baseline else _contrast(row, None, 1)
        row.update(
            {
                "gains": of["gains"],
                "gain": of["gain"],
                "gain_interval": of["interval"],
                "p": of["p"],
                "p_corrected": of["p_corrected"],
            }
        )
        row["reference"] = _contrast(row, reference, number) if row in to_reference else None
        row["is_reference"] = row is reference
        row["contrasts"] = number


def _contrast(row: Row, other: Row | None, number: int) -> dict[str, Any]:
    """The differences of `row` to `other` at the seeds that both have, as one of `number`."""
    scores = {} if other is None else dict(zip(other["seeds"], other["scores"], strict=True))
    gains = [
        100 * (score - scores[seed])
        for seed, score in zip(row["seeds"], row["scores"], strict=True)
        if seed in scores
    ]
    test = paired_test(gains, number)
    return {
        "name": None if other is None else other["name"],
        "gains": gains,
        "gain": float(np.mean(gains)) if gains else None,
        "interval": None if test is None else test.interval,
        "p": None if test is None else test.p,
        "p_corrected": None if test is None else test.p_corrected,
    }


def baseline_contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's contrast with the baseline, in the form that `reference` has."""
    return {
        "name": BASELINE,
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

    With generated arms, that one of them beats the baseline and the reference, where there is a
    remedy to be beaten; without generated arms, that a remedy beats the baseline.
    """
    generated = [row for row in rows if is_generated(row)]
    if not generated:
        return any(is_gain(baseline_contrast(row)) for row in rows)
    remedies = [row for row in rows if row["free"] and row["arm"] != BASELINE]
    return bool(remedies) and any(
        is_gain(baseline_contrast(row)) and (row["reference"] is None or is_gain(row["reference"]))
        for row in generated
    )
