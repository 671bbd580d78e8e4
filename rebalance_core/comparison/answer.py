"""The answer of a comparison as text, each sentence of which the rows support."""

from collections.abc import Mapping, Sequence

from rebalance_core.classifiers.measures import primary_measure
from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import BASELINE, Arm
from rebalance_core.comparison.contrasts import find_reference
from rebalance_core.comparison.records import Contrast, Row
from rebalance_core.comparison.statistics import FEWEST_SEEDS, SIGNIFICANT

Contrasts = Sequence[tuple[Row, Contrast]]


def answer_text(rows: Sequence[Row], *, redraw: bool, failed: int = 0, absent: str = "") -> str:
    """Summarise which differences between arms the rows support, and which they do not.

    Compares every generated arm with the reference, then every arm with the baseline. `absent` is
    the sentence on classes without a test image (`absence_sentence`).
    """
    to_baseline = [(row, row.baseline_contrast) for row in rows if row.gain is not None]
    contrasts = [*to_baseline, *_reference_contrasts(rows)]
    if contrasts and max(len(c.gains) for _, c in contrasts) < FEWEST_SEEDS:
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
    """Format {seed: classes without a test image} as a sentence; empty if no class is absent.

    With `redraw`, seeds may differ in their absent classes.
    """
    by_seed = {seed: ", ".join(classes) for seed, classes in absent.items() if classes}
    if not by_seed:
        return ""
    if not redraw or (len(set(by_seed.values())) == 1 and len(by_seed) == len(absent)):
        names = next(iter(by_seed.values()))
        return (
            f"The test split has no image of {names}: averages are over the other classes, for all "
            "arms."
        )
    parts = [f"{names} at seed {seed}" for seed, names in by_seed.items()]
    return (
        f"Test splits lack classes ({'; '.join(parts)}): averages of these seeds are over their "
        "other classes, for all arms."
    )


def describe_arm(row: Row) -> str:
    """Format an arm for a sentence: `ddpm at 0.5, until epoch 10`."""
    if row.amount is None or row.schedule is None:
        return "the baseline" if row.arm == BASELINE else row.arm
    schedule = Schedule.parse(row.schedule).words
    return f"{row.arm} at {row.amount}" + ("" if schedule == "always" else f", {schedule}")


def format_p(value: float | None, equals: str = "") -> str:
    """Format a p-value with three digits, or as many as distinguish it from `SIGNIFICANT`."""
    if value is None:
        return "unknown"
    if value < 0.001:
        return "< 0.001"
    digits = next((d for d in range(3, 8) if round(value, d) != SIGNIFICANT), 8)
    return f"{equals}{value:.{digits}f}"


def format_points(value: float, sign: str = "") -> str:
    """Format points with one digit, or as many as distinguish them from zero."""
    digits = next((d for d in range(1, 5) if round(value, d)), 1)
    return f"{value + 0.0:{sign}.{digits}f}"


def _gain(contrast: Contrast) -> float:
    assert contrast.gain is not None  # callers pass only contrasts with a common seed
    return contrast.gain


def _too_few_seeds(rows: Sequence[Row], to_baseline: Contrasts, redraw: bool) -> str:
    to_reference = _reference_contrasts(rows)
    seeds = max(len(c.gains) for _, c in [*to_baseline, *to_reference])
    parts = []
    if to_baseline:
        parts.append(
            f"the largest difference in {primary_measure().title} to the baseline is "
            f"{_largest(to_baseline)}"
        )
    if to_reference:
        parts.append(
            f"the largest of a generated arm to {_describe_reference(rows)} is "
            f"{_largest(to_reference)}"
        )
    return (
        f"With {seeds} seed{'s' if seeds > 1 else ''} ({_varied(rows, redraw)}) nothing can be "
        f"tested: {'; '.join(parts)}. "
        f"Compare over at least {FEWEST_SEEDS} seeds, preferably ten."
    )


def _largest(contrasts: Contrasts) -> str:
    row, contrast = max(contrasts, key=lambda pair: abs(_gain(pair[1])))
    return f"{format_points(_gain(contrast), '+')} points, for {describe_arm(row)}"


def _reference_contrasts(rows: Sequence[Row]) -> Contrasts:
    return [(r, r.reference) for r in rows if r.reference is not None and r.reference.gains]


def _describe_reference(rows: Sequence[Row]) -> str:
    reference = find_reference(rows)
    assert reference is not None  # there are contrasts with it
    return f"{describe_arm(reference)} (of the arms without a generator the best on validation)"


def _against_reference(rows: Sequence[Row]) -> str:
    """The sentence on generated arms against the best arm without a generator."""
    if not any(row.is_generated for row in rows):
        return ""
    contrasts = _reference_contrasts(rows)
    if contrasts:
        return _sentence(
            contrasts,
            f"Against {_describe_reference(rows)}",
            "no generated arm is shown to win",
            ("wins", "loses"),
        )
    free = [row.arm for row in rows if row.free]
    if free in ([], [BASELINE]):
        return (
            f"No arm without a generator was compared{' but the baseline' if free else ''}: "
            "whether generated images beat simple remedies cannot be determined; add at least "
            "oversample and augment+oversample."
        )
    reference = find_reference(rows)
    if reference is not None and reference.arm == BASELINE:
        return "Of the arms without a generator, the baseline itself is the best on validation."
    return f"No generated arm has a seed in common with {_describe_reference(rows)}."


def _against_baseline(contrasts: Contrasts) -> str:
    if not contrasts:
        return "Nothing was compared with the baseline."
    title = primary_measure().title
    return _sentence(contrasts, "Against the baseline", "", (f"raises {title}", f"lowers {title}"))


def _sentence(contrasts: Contrasts, opening: str, none_wins: str, verbs: tuple[str, str]) -> str:
    """One sentence on contrasts with one other arm: the significant ones first, then the rest."""
    significant = sorted((p for p in contrasts if p[1].is_significant), key=lambda p: -_gain(p[1]))
    equal = [p for p in contrasts if _has_equal_gains(p[1])]
    short = [p for p in contrasts if len(p[1].gains) < FEWEST_SEEDS]
    unclear = [p for p in contrasts if p not in significant and p not in equal and p not in short]
    parts = [] if any(c.is_gain for _, c in significant) or not none_wins else [none_wins]
    parts += [_significant(row, contrast, verbs) for row, contrast in significant]
    if unclear:
        parts.append(
            _unclear(unclear, "any arm" if len(unclear) == len(contrasts) else "the others")
        )
    parts += [
        f"{describe_arm(row)} cannot be tested (the same difference, "
        f"{format_points(_gain(contrast), '+')} points, "
        "at every seed)"
        for row, contrast in equal
    ]
    parts += [
        f"{describe_arm(row)} cannot be tested ({_seed_counts([(row, contrast)])} in common)"
        for row, contrast in short
    ]
    return f"{opening}, {'; '.join(parts)}."


def _has_equal_gains(contrast: Contrast) -> bool:
    """Whether there are enough seeds, but their differences are all equal."""
    return len(contrast.gains) >= FEWEST_SEEDS and contrast.p is None


def _significant(row: Row, contrast: Contrast, verbs: tuple[str, str]) -> str:
    is_loss = _gain(contrast) < 0
    return (
        f"{describe_arm(row)} {verbs[is_loss]} by {format_points(abs(_gain(contrast)))} points "
        f"(95 %: {_format_interval(contrast, is_loss)}, p {format_p(contrast.p_corrected, '= ')})"
    )


def _unclear(contrasts: Contrasts, plural: str) -> str:
    """The clause on differences that are not significant."""
    row, contrast = max(contrasts, key=lambda pair: abs(_gain(pair[1])))
    title = primary_measure().title
    arms, difference, name = describe_arm(row), f"the difference in {title} is", ""
    if len(contrasts) > 1:
        arms, difference = plural, f"the largest difference in {title} is"
        name = f", for {describe_arm(row)}"
    return (
        f"nothing can be said about {arms} with {_seed_counts(contrasts)} ({difference} "
        f"{format_points(_gain(contrast), '+')} points{name}, 95 %: {_format_interval(contrast)}, "
        f"p {format_p(contrast.p_corrected, '= ')})"
    )


def _format_interval(contrast: Contrast, is_negated: bool = False) -> str:
    assert contrast.interval is not None  # it was tested
    low, high = contrast.interval
    low, high = (-high, -low) if is_negated else (low, high)
    return f"{format_points(low)} to {format_points(high)}"


def _seed_counts(contrasts: Contrasts) -> str:
    """`5 seeds`, or `3 to 5 seeds` where some failed."""
    counts = {len(contrast.gains) for _, contrast in contrasts}
    least, most = min(counts), max(counts)
    span = str(most) if least == most else f"{least} to {most}"
    return f"{span} seed{'' if most == 1 else 's'}"


def _conditions(rows: Sequence[Row], contrasts: Contrasts, redraw: bool) -> str:
    """The sentence on what the intervals cover and how many comparisons they are corrected for."""
    number = rows[0].contrasts
    parts = [
        f"{_seed_counts(contrasts)}, {_varied(rows, redraw)}",
        f"intervals and p corrected for {number} comparison{'s' if number > 1 else ''}",
    ]
    if any(row.amount is not None or Arm.parse(row.arm).recipe.sampler != "as-is" for row in rows):
        parts.append("arms had equal epochs, not equal updates")
    if redraw:
        parts.append("draws from one dataset overlap, so the intervals are somewhat too narrow")
    return f"({'; '.join(parts)}.)"


def _varied(rows: Sequence[Row], redraw: bool) -> str:
    """What differs between seeds besides the classifier's initialisation and the data order."""
    if any(row.synthetic for row in rows):
        return "generator redrawn each time" if redraw else "skew and generator fixed"
    return "each with its own skew" if redraw else "skew fixed"


def _unverified(rows: Sequence[Row]) -> list[str]:
    """The sentence on generators whose training images are unverified; empty without one."""
    names = [row.name for row in rows if row.unverified]
    if not names:
        return []
    return [
        f"Unverified: the images of {'; '.join(names)} are of unknown origin; whether their "
        "generator was trained on other images too is not known."
    ]
