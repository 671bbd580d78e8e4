"""The answer of a comparison as text, each sentence of which the rows support."""

from collections.abc import Mapping, Sequence

from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.arms import BASELINE, Arm
from rebalance_core.comparison.contrasts import find_reference, has_equal_updates, outcome
from rebalance_core.comparison.records import Claim, Contrast, ExchangeRate, Row
from rebalance_core.comparison.statistics import FEWEST_SEEDS, SIGNIFICANT

RISING = 1.0  # points in the last fifth, from which the baseline is said to rise
Contrasts = Sequence[tuple[Row, Contrast]]


def answer_text(
    rows: Sequence[Row],
    claim: Claim | None = None,
    *,
    redraw: bool,
    failed: int = 0,
    absent: str = "",
    rise: float | None = None,
    title: str = "macro-F1",
    exchange: Sequence[ExchangeRate] = (),
) -> str:
    """Answer whether the primary arm beats every arm without a generator, and what else is shown.

    `exchange` are the exchange rates of the rows (`exchange_rates`).
    `absent` is the sentence on classes without a test image (`absence_sentence`), `rise` the gain
    of the baseline on validation in the last fifth of its training, in points, `title` the measure.
    """
    to_baseline = [(row, row.baseline_contrast) for row in rows if row.gain is not None]
    contrasts = [*to_baseline, *_reference_contrasts(rows)]
    if contrasts and max(len(c.gains) for _, c in contrasts) < FEWEST_SEEDS:
        parts = [_too_few_seeds(rows, to_baseline, redraw, title)]
    elif contrasts:
        # With generated arms, gains over the baseline alone would praise what a remedy equals.
        parts = _claim_sentences(rows, claim, title) or [_against_baseline(to_baseline, title)]
        parts += _worth(rows, claim, exchange)
        parts.append(_conditions(rows, contrasts, redraw, claim))
    else:
        parts = [_against_baseline(to_baseline, title)]
    if rise is not None and rise >= RISING:
        parts.append(
            f"The baseline still rises: {rise:.1f} points on validation in the last fifth of its "
            "training; longer training may change the differences."
        )
    if failed:
        verb = "classifier failed and is" if failed == 1 else "classifiers failed and are"
        parts.append(f"{failed} {verb} missing here.")
    return " ".join(filter(None, [*parts, absent, *_unverified(rows)]))


def _claim_sentences(rows: Sequence[Row], claim: Claim | None, title: str) -> list[str]:
    """Whether the primary arm beats the free ones, what could have been shown, and objections."""
    if claim is None:
        return []
    if not claim.against or claim.closest is None:
        return [_no_rival(rows, claim)]
    return [
        _verdict(rows, claim, title),
        *_rivals(rows, claim),
        *_budget(rows, claim),
        *_could_show(claim),
        *_objections(claim),
    ]


def _verdict(rows: Sequence[Row], claim: Claim, title: str) -> str:
    """The answer in one sentence."""
    by_name = {row.name: row for row in rows}
    primary = describe_arm(by_name[claim.primary])
    assert claim.closest is not None  # checked by the caller
    closest, contrast = describe_arm(by_name[claim.closest]), claim.against[claim.closest]
    points = f"{format_points(_gain(contrast), '+')} points of {title}"
    if claim.is_shown:
        yes, arms = "Yes, ", "every arm that costs"
        if claim.missing or not has_equal_updates(rows):
            yes, arms = "", "the arms tried that cost"
        return (
            f"{yes}{primary} beats {arms} no generator: {points} over the closest, {closest} "
            f"(95 %: {_format_interval(contrast)})."
        )
    if contrast.interval is None:
        return (
            f"It is not shown that {primary} beats the arms that cost no generator: its difference "
            f"to {closest}, {points}, cannot be tested."
        )
    span = f"{points}, 95 %: {_format_interval(contrast)}"
    if contrast.is_significant and _gain(contrast) < 0:
        return f"No, {closest}, which costs no generator, is better than {primary} ({span})."
    others = [n for n, c in claim.against.items() if not c.is_gain and n != claim.closest]
    also = f", nor {_alternatives([describe_arm(by_name[n]) for n in others])}" if others else ""
    return (
        f"It is not shown that {primary} beats {closest}, which costs no generator ({span}){also}."
    )


def _alternatives(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _rivals(rows: Sequence[Row], claim: Claim) -> list[str]:
    """The sentence on free arms that were not compared."""
    if not claim.missing:
        return []
    tried = ", ".join(row.arm for row in rows if row.free)
    return [
        f"Compared without a generator: {tried}; missing: {', '.join(claim.missing)}, without "
        "which nothing is claimed about the best without one."
    ]


def _worth(rows: Sequence[Row], claim: Claim | None, exchange: Sequence[ExchangeRate]) -> list[str]:
    """What the primary arm's images are worth in real ones, and beyond being shown more often."""
    if claim is None:
        return []
    by_name = {row.name: row for row in rows}
    primary = by_name[claim.primary]
    sentences = [
        f"The {rate.added:,} images of {describe_arm(primary)} were worth {_real_images(rate)}."
        for rate in exchange
        if rate.name == claim.primary
    ]
    placebos = [by_name[name] for name in claim.against if by_name[name].is_control]
    for placebo in placebos:
        if primary.gain is not None and placebo.gain is not None:
            sentences.append(
                f"Of its difference to the baseline, {format_points(primary.gain, '+')} points, "
                f"frozen copies of real images reach {format_points(placebo.gain, '+')} "
                f"({describe_arm(placebo)})."
            )
    return sentences


def _real_images(rate: ExchangeRate) -> str:
    """`about 140 real ones (95 %: 70 to more than 204)`."""

    def number(value: float) -> str:
        return f"more than {rate.most:,}" if value >= rate.most else f"{value:,.0f}"

    if rate.real <= 0:
        text = "no real one given back"
    elif rate.real >= rate.most:
        text = f"more than the {rate.most:,} real ones given back"
    else:
        text = f"about {rate.real:,.0f} real ones given back"
    if rate.interval is None:
        return f"{text} (too few seeds for an interval)"
    low, high = rate.interval
    if low == high:
        return f"{text} (95 %: all of the interval is beyond that)"
    return f"{text} (95 %: {number(low)} to {number(high)})"


def _budget(rows: Sequence[Row], claim: Claim) -> list[str]:
    """The sentence on a gain that unequal budgets may explain."""
    if not claim.is_shown or has_equal_updates(rows):
        return []
    return [
        "The arms did not have the same number of updates, and longer training alone can raise a "
        "score: compare with the budget `updates` before claiming this."
    ]


def _no_rival(rows: Sequence[Row], claim: Claim) -> str:
    if any(row.free for row in rows):
        return f"No arm without a generator has a seed in common with {claim.primary}."
    return (
        "No arm without a generator was compared: whether generated images beat simple remedies "
        f"cannot be determined; add at least {', '.join(claim.missing)}."
    )


def _could_show(claim: Claim) -> list[str]:
    """The sentence on equivalence, and the one on what these seeds and test images can show."""
    power, margin = claim.power, f"{claim.margin:g} points"
    if power is None or outcome(claim) != "open":
        return []
    sentences = []
    if claim.equivalence_p is not None and claim.equivalence_p < SIGNIFICANT:
        sentences.append(
            f"The two are equivalent within {margin} (p {format_p(claim.equivalence_p, '= ')})."
        )
    text = f"Differences below {format_points(power.detectable)} points stay invisible here"
    if power.detectable > claim.margin and power.seeds is not None:
        text += f"; {power.seeds} seeds would show {margin}"
    elif power.detectable > claim.margin:
        text += f"; no number of seeds can show {margin} on these test images"
        if power.test_groups:
            text += f", but {power.test_groups:,} independent ones could"
    return [*sentences, f"{text} (with 80 % probability)."]


def _objections(claim: Claim) -> list[str]:
    if not claim.exploratory:
        return []
    return [f"This is exploratory: {'; '.join(claim.exploratory)}."]


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


def _too_few_seeds(rows: Sequence[Row], to_baseline: Contrasts, redraw: bool, title: str) -> str:
    to_reference = _reference_contrasts(rows)
    seeds = max(len(c.gains) for _, c in [*to_baseline, *to_reference])
    parts = []
    if to_baseline:
        parts.append(
            f"the largest difference in {title} to the baseline is {_largest(to_baseline)}"
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


def _against_baseline(contrasts: Contrasts, title: str) -> str:
    """One sentence on all contrasts with the baseline: the significant ones first."""
    if not contrasts:
        return "Nothing was compared with the baseline."
    verbs = f"raises {title}", f"lowers {title}"
    significant = sorted((p for p in contrasts if p[1].is_significant), key=lambda p: -_gain(p[1]))
    equal = [p for p in contrasts if _has_equal_gains(p[1])]
    short = [p for p in contrasts if len(p[1].gains) < FEWEST_SEEDS]
    unclear = [p for p in contrasts if p not in significant and p not in equal and p not in short]
    parts = [_significant(row, contrast, verbs) for row, contrast in significant]
    if unclear:
        parts.append(
            _unclear(unclear, "any arm" if len(unclear) == len(contrasts) else "the others", title)
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
    return f"Against the baseline, {'; '.join(parts)}."


def _has_equal_gains(contrast: Contrast) -> bool:
    """Whether there are enough seeds, but their differences are all equal."""
    return len(contrast.gains) >= FEWEST_SEEDS and contrast.p is None


def _significant(row: Row, contrast: Contrast, verbs: tuple[str, str]) -> str:
    is_loss = _gain(contrast) < 0
    return (
        f"{describe_arm(row)} {verbs[is_loss]} by {format_points(abs(_gain(contrast)))} points "
        f"(95 %: {_format_interval(contrast, is_loss)}, p {format_p(contrast.p_corrected, '= ')})"
    )


def _unclear(contrasts: Contrasts, plural: str, title: str) -> str:
    """The clause on differences that are not significant."""
    row, contrast = max(contrasts, key=lambda pair: abs(_gain(pair[1])))
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


def _conditions(
    rows: Sequence[Row], contrasts: Contrasts, redraw: bool, claim: Claim | None
) -> str:
    """The sentence on what the intervals cover and how many comparisons they are corrected for."""
    number = rows[0].contrasts
    has_groups = claim is not None and claim.groups > 1
    parts = [
        f"{_seed_counts(contrasts)}, {_varied(rows, redraw)}",
        f"intervals cover {'seeds and test images' if has_groups else 'seeds alone'}",
        f"those of the table are corrected for {number} comparison{'s' if number > 1 else ''}",
    ]
    if has_equal_updates(rows):
        parts.append("all arms had the same number of updates")
    elif len({row.updates for row in rows}) > 1 or _has_longer_epochs(rows):
        parts.append("arms had equal epochs, not equal updates")
    if redraw:
        parts.append("the draws are from this one dataset and overlap")
    return f"({'; '.join(parts)}.)"


def _has_longer_epochs(rows: Sequence[Row]) -> bool:
    return any(
        row.amount is not None or Arm.parse(row.arm).recipe.sampler != "as-is" for row in rows
    )


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
