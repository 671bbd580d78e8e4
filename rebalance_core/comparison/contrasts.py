"""Differences between arms, corrected together, and the claim that one arm beats all free ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rebalance_core.comparison.arms import BASELINE, NEEDED_RIVALS, PLACEBO, Arm
from rebalance_core.comparison.records import Claim, Contrast, Planned, Power, Row
from rebalance_core.comparison.scores import ArmScores
from rebalance_core.comparison.statistics import (
    Estimate,
    adjust,
    can_use_max_t,
    joint_level,
    max_t,
    power,
)

Scores = Mapping[str, ArmScores]  # by the name of a row


def find_reference(rows: Iterable[Row]) -> Row | None:
    """The free row with the best mean validation score; the first on a tie, None without free rows.

    The mean is over the seeds that all free rows have in common, so that a failed seed neither
    helps nor removes a row; without common seeds, over each row's own.
    """
    return _best_row([row for row in rows if row.free])


def find_primary(rows: Sequence[Row], named: str | None = None) -> Row | None:
    """The generated row that the question is about: `named`, or the best on validation."""
    if named is not None:
        return next((row for row in rows if named in (row.name, row.arm)), None)
    return _best_row([row for row in rows if row.is_generated])


def _best_row(rows: Sequence[Row]) -> Row | None:
    scores = {row.name: dict(zip(row.seeds, row.validation_scores, strict=True)) for row in rows}
    best = best_on_validation(scores)
    return next((row for row in rows if row.name == best), None)


def best_on_validation(scores: Mapping[str, Mapping[int, float]]) -> str | None:
    """Of {name: {seed: validation score}} the name with the best mean; the first on a tie.

    The mean is over the seeds that all have in common, else over each one's own.
    """
    common = set.intersection(*map(set, scores.values())) if scores else set()

    def mean_score(name: str) -> float:
        of_name = scores[name]
        return float(np.mean([of_name[seed] for seed in (common or of_name)]))

    return max(scores, key=mean_score, default=None)


def with_contrasts(
    rows: Sequence[Row], scores: Scores, planned: Planned | None = None
) -> list[Row]:
    """Add to each row its differences in points of the primary measure, with interval and p.

    `gain*` and `p*` are to the baseline; `reference` is a generated row's contrast with the
    reference, where that is not the baseline. All contrasts of rows with a seed in common are
    corrected together.
    """
    baseline = next((row for row in rows if row.arm == BASELINE), None)
    reference = find_reference(rows)
    if planned and planned.against:
        reference = next((row for row in rows if row.name == planned.against), reference)
    distinct = None if reference is baseline else reference
    pairs = [(row, None if row is baseline else baseline) for row in rows]
    pairs += [(row, distinct) for row in rows if row.is_generated]
    contrasts = _corrected(
        [None if other is None else (row.name, other.name) for row, other in pairs], scores
    )
    to_baseline, to_reference = contrasts[: len(rows)], iter(contrasts[len(rows) :])
    number = sum(bool(contrast.gains) for contrast in contrasts)
    made = []
    for row, contrast in zip(rows, to_baseline, strict=True):
        of_reference = next(to_reference) if row.is_generated else None
        fields = {
            **_baseline_fields(contrast),
            "reference": None if distinct is None else of_reference,
            "is_reference": row is reference,
            "contrasts": number,
        }
        made.append(row.model_copy(update=fields))
    return made


def _baseline_fields(contrast: Contrast) -> dict[str, Any]:
    """The fields of a row that hold its contrast with the baseline."""
    return {
        "gains": contrast.gains,
        "gain": contrast.gain,
        "gain_interval": contrast.interval,
        "p": contrast.p,
        "p_corrected": contrast.p_corrected,
    }


def _corrected(pairs: Sequence[tuple[str, str] | None], scores: Scores) -> list[Contrast]:
    """The contrast of each pair of rows, corrected for all that can be tested."""
    estimates = [None if pair is None else _compare(pair, scores) for pair in pairs]
    tested = [k for k, each in enumerate(estimates) if each is not None and each.is_testable]
    family = [each for each in (estimates[k] for k in tested) if each is not None]
    left_out = [_left_out(pairs[k], scores) for k in tested]
    number = sum(pair is not None and bool(_differences(pair, scores)) for pair in pairs)
    smallest = max_t(family, left_out) if can_use_max_t(family) else None
    return [
        _contrast(pair, each, scores, number, smallest)
        for pair, each in zip(pairs, estimates, strict=True)
    ]


def _contrast(
    pair: tuple[str, str] | None,
    each: Estimate | None,
    scores: Scores,
    contrasts: int,
    smallest: np.ndarray | None,
) -> Contrast:
    """The contrast of a pair, corrected for the number of `contrasts`."""
    gains = [] if pair is None else _differences(pair, scores)
    gain = float(np.mean(gains)) if gains else None
    if each is None or not each.is_testable:
        return Contrast(gains=gains, gain=gain, interval=None, p=None, p_corrected=None)
    return Contrast(
        gains=gains,
        gain=gain,
        interval=list(each.interval(joint_level(contrasts, smallest))),
        p=each.p,
        p_corrected=adjust(each.p, contrasts, smallest),
    )


def _compare(pair: tuple[str, str], scores: Scores) -> Estimate | None:
    return scores[pair[0]].compare(scores[pair[1]])


def _left_out(pair: tuple[str, str] | None, scores: Scores) -> np.ndarray | None:
    return None if pair is None else scores[pair[0]].left_out_difference(scores[pair[1]])


def _differences(pair: tuple[str, str], scores: Scores) -> list[float]:
    return scores[pair[0]].differences(scores[pair[1]])


def make_claim(rows: Sequence[Row], scores: Scores, planned: Planned) -> Claim | None:
    """Whether the primary arm beats every arm without a generator and its placebo.

    None without generated arms.

    An intersection-union test (Berger 1982, Technometrics 24): each contrast is tested at its own
    two-sided 95 %, and all have to be gains, which keeps the level of one test.
    """
    primary = find_primary(rows, planned.primary)
    if primary is None:
        return None
    free = [row for row in rows if row.free]
    against = {
        row.name: contrast_alone((primary.name, row.name), scores)
        for row in [*free, *_placebos(rows, primary)]
        if _differences((primary.name, row.name), scores)
    }
    closest = _strongest_rival(against)
    estimate = None if closest is None else _compare((primary.name, closest), scores)
    tried = {row.arm for row in free}
    return Claim(
        primary=primary.name,
        rule=planned.rule,
        measure=planned.measure,
        exploratory=list(planned.exploratory),
        against=against,
        closest=closest,
        is_shown=bool(against) and all(contrast.is_gain for contrast in against.values()),
        missing=[name for name in NEEDED_RIVALS if name not in tried],
        power=None
        if estimate is None or not estimate.is_testable
        else Power(**vars(power(estimate, planned.margin))),
        equivalence_p=None
        if estimate is None or not estimate.is_testable
        else estimate.equivalence_p(planned.margin),
        margin=planned.margin,
        groups=0 if estimate is None else estimate.groups,
    )


def _placebos(rows: Iterable[Row], primary: Row) -> list[Row]:
    """The placebos with as many images, shown in the same epochs."""
    return [
        row
        for row in rows
        if Arm.parse(row.arm).control == PLACEBO
        and (row.amount, row.schedule) == (primary.amount, primary.schedule)
    ]


def _strongest_rival(against: Mapping[str, Contrast]) -> str | None:
    """The free row that decides: a better one, else one that is not beaten, else the closest."""
    better = [n for n, c in against.items() if c.is_significant and (c.gain or 0) < 0]
    open_ones = [n for n, c in against.items() if c.interval and not c.is_gain]
    untested = [n for n, c in against.items() if not c.interval]
    names = better or open_ones or untested or list(against)
    return min(names, key=lambda name: against[name].gain or 0.0, default=None)


def contrast_alone(pair: tuple[str, str], scores: Scores) -> Contrast:
    """The contrast of two rows at its own 95 %, not corrected for others."""
    return _contrast(pair, _compare(pair, scores), scores, 1, None)


def baseline_contrasts(rows: Iterable[Row]) -> dict[str, Contrast]:
    """{arm: contrast with the baseline}, for every arm that has one."""
    return {row.name: row.baseline_contrast for row in rows if row.gain is not None}


def is_gain_proven(rows: Sequence[Row], claim: Claim | None) -> bool:
    """Whether the comparison shows a gain that its question is about.

    With generated arms: the primary arm, of verified origin, beats every free arm at equal updates,
    and all `NEEDED_RIVALS` are among these. Without generated arms: a remedy beats the baseline.
    """
    if claim is None:
        return any(row.baseline_contrast.is_gain for row in rows)
    primary = next(row for row in rows if row.name == claim.primary)
    is_complete = claim.is_shown and not claim.missing and has_equal_updates(rows)
    return is_complete and not primary.unverified


def has_equal_updates(rows: Iterable[Row]) -> bool:
    """Whether all arms are known to have had the same number of updates."""
    updates = {row.updates for row in rows}
    return len(updates) == 1 and None not in updates


def outcome(claim: Claim | None) -> Literal["shown", "refuted", "open", "none"]:
    """`refuted`: an arm without a generator is significantly better than the primary arm."""
    if claim is None or not claim.against:
        return "none"
    if claim.is_shown:
        return "shown"
    losses = [c for c in claim.against.values() if c.is_significant and (c.gain or 0) < 0]
    return "refuted" if losses else "open"
