"""The answer of a comparison in words, each of which the rows support."""

from collections.abc import Mapping, Sequence
from typing import Any

from rebalance_core.classifiers.measures import primary_measure
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import BASELINE, Arm
from rebalance_core.comparison.contrasts import (
    Row,
    baseline_contrast,
    is_generated,
    is_shown,
    reference_of,
)
from rebalance_core.comparison.statistics import FEWEST_SEEDS, SIGNIFICANT

Contrast = Mapping[str, Any]
Contrasts = Sequence[tuple[Row, Contrast]]


def answer(rows: Sequence[Row], *, redraw: bool, failed: int = 0, absent: str = "") -> str:
    """What can be said about the differences between arms, and what cannot.

    First every generated arm against the reference, then every arm against the baseline; `absent`
    is the sentence on classes without a test image (`absence_sentence`).
    """
    to_baseline = [(r, baseline_contrast(r)) for r in rows if r["gain"] is not None]
    contrasts = [*to_baseline, *_reference_contrasts(rows)]
    if contrasts and max(len(c["gains"]) for _, c in contrasts) < FEWEST_SEEDS:
        parts = [_too_few_seeds(rows, to_baseline, redraw)]
    elif contrasts:
        parts = [_against_reference(rows), _against_baseline(to_baseline)]
        parts.append(_conditions(rows, contrasts, redraw))
    else:
        parts = [_against_baseline(to_baseline)]
    if failed:
        verb = "classifier failed and is" if failed == 1 else "classifiers failed and are"
        parts.append(f"{failed} {verb} missing here.")
    return " ".join(filter(None, [*parts, absent, *_unverified(rows)]))


def absence_sentence(absent: Mapping[int, Sequence[str]], redraw: bool) -> str:
    """{seed: classes without a test image} in words; with `redraw`, seeds may differ in them."""
    found = {seed: ", ".join(classes) for seed, classes in absent.items() if classes}
    if not found:
        return ""
    if not redraw or (len(set(found.values())) == 1 and len(found) == len(absent)):
        names = next(iter(found.values()))
        return (
            f"The test split has no image of {names}: averages are over the other classes, for all "
            "arms."
        )
    parts = [f"{names} at seed {seed}" for seed, names in found.items()]
    return (
        f"Test splits lack classes ({'; '.join(parts)}): averages of these seeds are over their "
        "other classes, for all arms."
    )


def arm_words(row: Mapping[str, Any]) -> str:
    """`ddpm at 0.5, until epoch 10`"""
    if row["amount"] is None:
        return "the baseline" if row["arm"] == BASELINE else str(row["arm"])
    when = Schedule.parse(row["schedule"]).words
    return f"{row['arm']} at {row['amount']}" + ("" if when == "always" else f", {when}")


def p_words(value: float | None, equals: str = "") -> str:
    if value is None:
        return "unknown"
    if value < 0.001:
        return "< 0.001"
    digits = next((d for d in range(3, 8) if round(value, d) != SIGNIFICANT), 8)
    return f"{equals}{value:.{digits}f}"


def points_words(value: float, sign: str = "") -> str:
    """Points with one digit, or as many as tell them from zero."""
    digits = next((d for d in range(1, 5) if round(value, d)), 1)
    return f"{value + 0.0:{sign}.{digits}f}"


def _too_few_seeds(rows: Sequence[Row], to_baseline: Contrasts, redraw: bool) -> str:
    to_reference = _reference_contrasts(rows)
    seeds = max(len(c["gains"]) for _, c in [*to_baseline, *to_reference])
    parts = []
    if to_baseline:
        parts.append(
            f"the largest difference in {primary_measure().title} to the baseline is "
            f"{_largest(to_baseline)}"
        )
    if to_reference:
        parts.append(
            f"the largest of a generated arm to {_reference_words(rows)} is "
            f"{_largest(to_reference)}"
        )
    return (
        f"With {seeds} seed{'s' if seeds > 1 else ''} ({_drawn(rows, redraw)}) nothing can be "
        f"tested: {'; '.join(parts)}. "
        f"Compare over at least {FEWEST_SEEDS} seeds, better ten."
    )


def _largest(contrasts: Contrasts) -> str:
    row, contrast = max(contrasts, key=lambda pair: abs(pair[1]["gain"]))
    return f"{points_words(contrast['gain'], '+')} points, for {arm_words(row)}"


def _reference_contrasts(rows: Sequence[Row]) -> Contrasts:
    return [(r, r["reference"]) for r in rows if r["reference"] and r["reference"]["gains"]]


def _reference_words(rows: Sequence[Row]) -> str:
    reference = reference_of(rows)
    assert reference is not None  # there are contrasts with it
    return f"{arm_words(reference)} (of the arms without a generator the best on validation)"


def _against_reference(rows: Sequence[Row]) -> str:
    """Which generated arms are better or worse than the best arm that costs no generator."""
    if not any(is_generated(row) for row in rows):
        return ""
    contrasts = _reference_contrasts(rows)
    if contrasts:
        return _sentence(
            contrasts,
            f"Against {_reference_words(rows)}",
            "no generated arm is shown to win",
            ("wins", "loses"),
        )
    free = [row["arm"] for row in rows if row["free"]]
    if free in ([], [BASELINE]):
        return (
            f"No arm without a generator was compared{' but the baseline' if free else ''}: that "
            "generated images beat what costs nothing cannot be said; add at least oversample and "
            "augment+oversample."
        )
    reference = reference_of(rows)
    if reference is not None and reference["arm"] == BASELINE:
        return "Of the arms without a generator, the baseline itself is the best on validation."
    return f"No generated arm has a seed in common with {_reference_words(rows)}."


def _against_baseline(contrasts: Contrasts) -> str:
    if not contrasts:
        return "Nothing was compared with the baseline."
    title = primary_measure().title
    return _sentence(contrasts, "Against the baseline", "", (f"raises {title}", f"lowers {title}"))


def _sentence(contrasts: Contrasts, opening: str, none_wins: str, verbs: tuple[str, str]) -> str:
    """One sentence on contrasts with one other arm: shown gains, shown losses, the others."""
    shown = sorted((p for p in contrasts if is_shown(p[1])), key=lambda p: -p[1]["gain"])
    equal = [p for p in contrasts if _is_equal(p[1])]
    short = [p for p in contrasts if len(p[1]["gains"]) < FEWEST_SEEDS]
    unclear = [p for p in contrasts if p not in shown and p not in equal and p not in short]
    parts = [] if any(c["gain"] > 0 for _, c in shown) or not none_wins else [none_wins]
    parts += [_shown(row, contrast, verbs) for row, contrast in shown]
    if unclear:
        parts.append(
            _unclear(unclear, "any arm" if len(unclear) == len(contrasts) else "the others")
        )
    parts += [
        f"{arm_words(row)} cannot be tested (the same difference, "
        f"{points_words(contrast['gain'], '+')} points, "
        "at every seed)"
        for row, contrast in equal
    ]
    parts += [
        f"{arm_words(row)} cannot be tested ({_seeds_words([(row, contrast)])} in common)"
        for row, contrast in short
    ]
    return f"{opening}, {'; '.join(parts)}."


def _is_equal(contrast: Contrast) -> bool:
    """Whether the difference cannot be tested although there are enough seeds."""
    return len(contrast["gains"]) >= FEWEST_SEEDS and contrast["p"] is None


def _shown(row: Row, contrast: Contrast, verbs: tuple[str, str]) -> str:
    loses = contrast["gain"] < 0
    return (
        f"{arm_words(row)} {verbs[loses]} by {points_words(abs(contrast['gain']))} points "
        f"(95 %: {_interval_words(contrast, loses)}, p {p_words(contrast['p_corrected'], '= ')})"
    )


def _unclear(contrasts: Contrasts, several: str) -> str:
    """What is said of differences that the seeds cannot tell from none."""
    row, contrast = max(contrasts, key=lambda pair: abs(pair[1]["gain"]))
    title = primary_measure().title
    who, which = arm_words(row), f"the difference in {title} is"
    name = ""
    if len(contrasts) > 1:
        who, which = several, f"the largest difference in {title} is"
        name = f", for {arm_words(row)}"
    return (
        f"nothing can be said about {who} with {_seeds_words(contrasts)} ({which} "
        f"{points_words(contrast['gain'], '+')} points{name}, 95 %: {_interval_words(contrast)}, "
        f"p {p_words(contrast['p_corrected'], '= ')})"
    )


def _interval_words(contrast: Contrast, negated: bool = False) -> str:
    low, high = contrast["interval"]
    low, high = (-high, -low) if negated else (low, high)
    return f"{points_words(low)} to {points_words(high)}"


def _seeds_words(contrasts: Contrasts) -> str:
    """`5 seeds`, or `3 to 5 seeds` where some failed."""
    numbers = {len(contrast["gains"]) for _, contrast in contrasts}
    least, most = min(numbers), max(numbers)
    span = str(most) if least == most else f"{least} to {most}"
    return f"{span} seed{'' if most == 1 else 's'}"


def _conditions(rows: Sequence[Row], contrasts: Contrasts, redraw: bool) -> str:
    """Which chance the intervals cover, and how many comparisons they are corrected for."""
    number = rows[0]["contrasts"]
    parts = [
        f"{_seeds_words(contrasts)}, {_drawn(rows, redraw)}",
        f"intervals and p corrected for {number} comparison{'s' if number > 1 else ''}",
    ]
    if any(
        row["amount"] is not None or Arm.parse(row["arm"]).recipe.sampler != "as-is" for row in rows
    ):
        parts.append("arms had equal epochs, not equal updates")
    if redraw:
        parts.append("draws from one dataset overlap, so the intervals are somewhat too narrow")
    return f"({'; '.join(parts)}.)"


def _drawn(rows: Sequence[Row], redraw: bool) -> str:
    """What differs between seeds beside the classifier's initialisation and the data order."""
    if any(row["synthetic"] for row in rows):
        return "generator redrawn each time" if redraw else "skew and generator fixed"
    return "each with its own skew" if redraw else "skew fixed"


def _unverified(rows: Sequence[Row]) -> list[str]:
    """A sentence where it is not verified which images a generator was trained on."""
    names = [row["name"] for row in rows if row["unverified"]]
    if not names:
        return []
    return [
        f"Unverified: the images of {'; '.join(names)} are of unknown origin; whether their "
        "generator was trained on other images too is not known."
    ]
