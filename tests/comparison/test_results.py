"""From cells to gains, intervals and an answer that is true of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cell_records import cell_record
from scipy.stats import t, ttest_rel

from rebalance_core.comparison.answer import absence_sentence, answer_text, format_p, format_points
from rebalance_core.comparison.contrasts import find_reference, is_gain_proven, make_claim
from rebalance_core.comparison.records import CellRecord, Claim, EpochRecord, Planned, Row
from rebalance_core.comparison.results import Origin, make_rows, paper_figure, score_arms
from rebalance_core.comparison.table import Column, columns, table


def cells(
    scores: dict[str, list[float]],
    epochs: int = 2,
    validation: dict[str, float] | None = None,
    updates: int | None = None,
) -> list[CellRecord]:
    """`arm` or `arm schedule` → one macro-F1 per seed on test, and one for all on validation."""
    cell_records = []
    for name, values in scores.items():
        arm, _, schedule = name.partition(" ")
        cell_records += [
            cell_record(
                arm,
                seed,
                value,
                schedule or "always",
                epochs,
                (validation or {}).get(arm, 0.5),
                recall=(1.0, min(1.0, seed / 2)),
                updates=updates,
            )
            for seed, value in enumerate(values)
        ]
    return cell_records


def rows(scores: dict[str, list[float]], epochs: int = 2) -> dict[str, Row]:
    return {row.arm: row for row in make_rows(cells(scores, epochs))}


def column(title: str) -> Column:
    return next(c for c in columns() if c.title == title)


EPOCHS = "arms had equal epochs, not equal updates"


def conditions(number: int, *, drawn: str = "skew fixed", seeds: str = "3 seeds") -> str:
    """The start of the last sentence."""
    return (
        f"({seeds}, {drawn}; intervals cover seeds alone; those of the table are corrected for "
        f"{number} comparison{'s' if number > 1 else ''}"
    )


def missing(tried: str, names: str) -> str:
    return (
        f"Compared without a generator: {tried}; missing: {names}, without which nothing is "
        "claimed about the best without one."
    )


GENERATED = "skew and generator fixed"
UNEQUAL = (
    "The arms did not have the same number of updates, and longer training alone can raise a "
    "score: compare with the budget `updates` before claiming this."
)


def answered(
    scores: dict[str, list[float]],
    validation: dict[str, float] | None = None,
    updates: int | None = None,
    **options: Any,
) -> str:
    return answer_of(cells(scores, validation=validation, updates=updates), **options)


def answer_of(cell_records: list[CellRecord], **options: Any) -> str:
    arm_rows, claim = claimed(cell_records)
    return answer_text(arm_rows, claim, **{"redraw": False, **options})


def claimed(
    cell_records: list[CellRecord], origins: dict[str, Origin] | None = None
) -> tuple[list[Row], Claim | None]:
    scores = score_arms(cell_records)
    arm_rows = make_rows(cell_records, origins, scores)
    return arm_rows, make_claim(arm_rows, scores, Planned())


def test_gains_are_paired_by_seed_in_points() -> None:
    row = rows({"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]})["ddpm"]
    assert row.gains == pytest.approx([1.0, 2.0, 6.0])
    assert row.gain == pytest.approx(3.0)
    assert row.gain_interval == pytest.approx((-3.5724, 9.5724), abs=1e-4)
    assert row.p == pytest.approx(ttest_rel([0.51, 0.62, 0.76], [0.5, 0.6, 0.7]).pvalue)
    assert row.p_corrected == row.p
    assert row.measures["macro_f1"] == pytest.approx(0.63)
    assert row.macro_f1_std == pytest.approx(0.125299640861)
    assert row.macro_f1_interval == pytest.approx(
        t.interval(0.95, 2, loc=0.63, scale=0.125299640861 / 3**0.5)
    )


def test_the_baseline_has_no_difference_and_no_schedule() -> None:
    row = rows({"none": [0.5, 0.6]})["none"]
    unknown = ("gain", "gain_interval", "p", "p_corrected", "schedule", "amount", "synthetic")
    assert [getattr(row, name) for name in unknown] == [None] * 7
    assert row.name == "none"


def test_p_and_interval_are_corrected_for_all_comparisons() -> None:
    by_arm = rows(
        {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76], "focal": [0.55, 0.66, 0.75]}
    )
    for arm in ("focal", "ddpm"):
        row = by_arm[arm]
        assert row.contrasts == 2
        assert row.p_corrected == pytest.approx(2 * row.p)
        gains = row.gains
        expected = t.interval(
            0.975, 2, loc=sum(gains) / 3, scale=float(np.std(gains, ddof=1)) / 3**0.5
        )
        assert row.gain_interval == pytest.approx(expected)


def test_seeds_are_paired_whatever_their_order() -> None:
    mixed = [
        cell_record("ddpm", 1, 0.62),
        cell_record("none", 0, 0.5),
        cell_record("ddpm", 0, 0.51),
        cell_record("none", 1, 0.6),
    ]
    row = {r.arm: r for r in make_rows(mixed)}["ddpm"]
    assert row.gain == pytest.approx(1.5)
    assert row.seeds == [1, 0]


def test_a_row_holds_the_means_of_its_cells() -> None:
    row = rows({"none": [0.4, 0.5], "bagan-gp until:10": [0.5, 0.5]})["bagan-gp"]
    assert row.schedule == "until:10"
    assert row.name == "bagan-gp, 1.0, until epoch 10"
    assert (row.added, row.synthetic) == ({"dog": 90}, "pets-bagan-gp")
    assert (row.seeds, row.epoch) == ([0, 1], [1, 2])
    assert row.measures["accuracy"] == pytest.approx(0.55)
    assert (row.measures["auroc"], row.measures["calibration_error"]) == (0.75, 0.125)
    assert (row.precision, row.recall) == ([0.5, 1.0], [1.0, 0.25])
    assert row.confusion == [[20, 0], [16, 4]]
    assert row.seconds == 10.5
    assert row.best_test_accuracy == pytest.approx(0.6)
    assert row.validation_swing == pytest.approx(0.1)


def test_one_seed_has_no_interval() -> None:
    row = rows({"none": [0.5], "ddpm": [0.52]})["ddpm"]
    assert row.gain == pytest.approx(2.0)
    unknown = ("gain_interval", "p_corrected", "macro_f1_interval", "macro_f1_std", "p")
    assert [getattr(row, name) for name in unknown] == [None] * 5


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ({"none": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        ({"ddpm": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        (
            {"none": [0.5], "bagan-gp": [0.49], "ddpm until:10": [0.52]},
            "With 1 seed (skew and generator fixed) nothing can be tested: the largest difference "
            "in macro-F1 to the baseline is +2.0 points, for ddpm at 1.0, until epoch 10. Compare "
            "over at least 3 seeds, preferably ten.",
        ),
        (
            {"none": [0.50, 0.60], "focal": [0.52, 0.62]},
            "With 2 seeds (skew fixed) nothing can be tested: the largest difference in macro-F1 "
            "to the baseline is +2.0 points, for focal. Compare over at least 3 seeds, preferably "
            "ten.",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]},
            "It is not shown that ddpm at 1.0 beats the baseline, which costs no generator (+3.0 "
            "points of macro-F1, 95 %: -3.6 to 9.6). "
            f"{missing('none', 'oversample, augment+oversample, logit-adjusted-after')} "
            "Differences below 8.2 points stay invisible here; 16 seeds would show 2 points (with "
            f"80 % probability). {conditions(1, drawn=GENERATED)}; {EPOCHS}.)",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "focal": [0.51, 0.62, 0.76], "augment": [0.5, 0.61, 0.7]},
            "Against the baseline, nothing can be said about any arm with 3 seeds (the largest "
            "difference in macro-F1 is +3.0 points, for focal, 95 %: -6.5 to 12.5, p = 0.377). "
            f"{conditions(2)}.)",
        ),
        (
            {
                "none": [0.5, 0.6, 0.7],
                "focal": [0.4, 0.501, 0.6],
                "augment": [0.5, 0.61, 0.7],
                "undersample": [0.51, 0.6, 0.7],
                "oversample": [0.52, 0.62, 0.721],
                "class-weights": [0.53, 0.63, 0.73],
            },
            "Against the baseline, oversample raises macro-F1 by 2.0 points (95 %: 1.7 to 2.4, "
            "p = 0.001); focal lowers macro-F1 by 10.0 points (95 %: 9.6 to 10.3, p < 0.001); "
            "nothing can be said about the others with 3 seeds (the largest difference in macro-F1 "
            "is +0.3 points, for augment, 95 %: -3.0 to 3.6, p = 1.000); class-weights cannot be "
            "tested (the same difference, +3.0 points, at every seed). "
            f"{conditions(5)}; {EPOCHS}.)",
        ),
    ],
    ids=[
        "baseline alone",
        "no baseline",
        "one seed",
        "two seeds",
        "one unclear",
        "all unclear",
        "shown both ways, unclear and untestable",
    ],
)
def test_the_answer_is_true_of_the_rows(scores: dict[str, list[float]], answer: str) -> None:
    assert answered(scores) == answer


RIVALS = {
    "none": [0.50, 0.60, 0.70],
    "oversample": [0.54, 0.64, 0.739],
    "bagan-gp": [0.555, 0.655, 0.753],
    "ddpm": [0.515, 0.615, 0.713],
}
MORE_RIVALS = RIVALS | {
    "augment+oversample": [0.54, 0.63, 0.73],
    "logit-adjusted-after": [0.52, 0.62, 0.719],
}


@pytest.mark.parametrize(
    ("scores", "best", "answer"),
    [
        (
            RIVALS,
            "bagan-gp",
            "bagan-gp at 1.0 beats the arms tried that cost no generator: +1.5 points of macro-F1 "
            "over the closest, oversample (95 %: 1.3 to 1.6). "
            f"{missing('none, oversample', 'augment+oversample, logit-adjusted-after')} "
            f"{UNEQUAL} {conditions(5, drawn=GENERATED)}; {EPOCHS}.)",
        ),
        (
            MORE_RIVALS,
            "bagan-gp",
            "bagan-gp at 1.0 beats the arms tried that cost no generator: +1.5 points of macro-F1 "
            "over the closest, oversample (95 %: 1.3 to 1.6). "
            f"{UNEQUAL} {conditions(7, drawn=GENERATED)}; {EPOCHS}.)",
        ),
        (
            MORE_RIVALS,
            "ddpm",
            "No, oversample, which costs no generator, is better than ddpm at 1.0 (-2.5 points of "
            f"macro-F1, 95 %: -2.7 to -2.4). {conditions(7, drawn=GENERATED)}; {EPOCHS}.)",
        ),
        (
            # oversample is closer, and beaten
            MORE_RIVALS | {"logit-adjusted-after": [0.52, 0.61, 0.735]},
            "bagan-gp",
            "It is not shown that bagan-gp at 1.0 beats logit-adjusted-after, which costs no "
            "generator (+3.3 points of macro-F1, 95 %: -0.1 to 6.7). Differences below 4.2 points "
            "stay invisible here; 6 seeds would show 2 points (with 80 % probability). "
            f"{conditions(7, drawn=GENERATED)}; {EPOCHS}.)",
        ),
        (
            {
                "none": [0.5, 0.6, 0.7, 0.55, 0.61],
                "oversample": [0.555, 0.642, 0.745, 0.6, 0.66],
                "augment+oversample": [0.55, 0.65, 0.75, 0.6, 0.66],
                "logit-adjusted-after": [0.51, 0.61, 0.72, 0.56, 0.63],
                "ddpm": [0.552, 0.648, 0.751, 0.601, 0.659],
            },
            "ddpm",
            "It is not shown that ddpm at 1.0 beats augment+oversample, which costs no generator "
            "(+0.02 points of macro-F1, 95 %: -0.2 to 0.2), nor oversample. The two are equivalent "
            "within 2 points (p < 0.001). Differences below 0.3 points stay invisible here (with "
            f"80 % probability). {conditions(5, drawn=GENERATED, seeds='5 seeds')}; {EPOCHS}.)",
        ),
        (
            {"none": [0.5, 0.6, 0.7], "ddpm": [0.6, 0.7, 0.8]},
            "ddpm",
            "It is not shown that ddpm at 1.0 beats the arms that cost no generator: its "
            "difference to the baseline, +10.0 points of macro-F1, cannot be tested. "
            f"{missing('none', 'oversample, augment+oversample, logit-adjusted-after')} "
            f"{conditions(1, drawn=GENERATED)}; {EPOCHS}.)",
        ),
    ],
    ids=[
        "rivals are missing",
        "shown at unequal updates",
        "refuted",
        "one is not beaten",
        "open",
        "untestable",
    ],
)
def test_the_answer_is_whether_the_primary_arm_beats_every_free_one(
    scores: dict[str, list[float]], best: str, answer: str
) -> None:
    """The primary arm is the generated one that is best on validation."""
    assert answered(scores, {"oversample": 0.6, best: 0.7}) == answer


def test_yes_needs_every_rival_at_equal_updates() -> None:
    validation = {"oversample": 0.6, "bagan-gp": 0.7}
    equal = "all arms had the same number of updates.)"
    assert answered(MORE_RIVALS, validation, updates=100) == (
        "Yes, bagan-gp at 1.0 beats every arm that costs no generator: +1.5 points of macro-F1 "
        "over the closest, oversample (95 %: 1.3 to 1.6). "
        f"{conditions(7, drawn=GENERATED)}; {equal}"
    )
    longer = cells(MORE_RIVALS, validation=validation, updates=100)
    longer += cells({"ddpm until:10": [0.1, 0.2, 0.3]}, updates=200)
    assert UNEQUAL in answer_of(longer)
    assert not is_gain_proven(*claimed(longer))


def test_several_arms_that_are_not_beaten_are_listed() -> None:
    close = {name: [0.5, 0.62, 0.7] for name in ("none", "oversample", "augment+oversample")}
    assert ", nor oversample or augment+oversample." in answered(
        close | {"ddpm": [0.51, 0.61, 0.71]}
    )


def test_generated_arms_stand_beside_the_free_arm_that_is_best_on_validation() -> None:
    arm_rows = {r.arm: r for r in make_rows(cells(RIVALS, validation={"oversample": 0.6}))}
    assert {arm: row.is_reference for arm, row in arm_rows.items()} == {
        "none": False,
        "oversample": True,
        "bagan-gp": False,
        "ddpm": False,
    }
    assert arm_rows["oversample"].reference is None
    reference = arm_rows["bagan-gp"].reference
    assert reference.gains == pytest.approx([1.5, 1.5, 1.4])
    assert reference.p_corrected == pytest.approx(5 * reference.p)
    assert reference.is_gain
    assert arm_rows["ddpm"].reference.is_significant
    assert not arm_rows["ddpm"].reference.is_gain


def test_the_reference_is_chosen_on_validation_never_on_test() -> None:
    """On test, augment would be the hardest rival; on validation it is undersample."""
    scores = {
        "none": [0.5, 0.6, 0.7],
        "augment": [0.8, 0.8, 0.8],
        "undersample": [0.4, 0.5, 0.6],
        "ddpm": [0.45, 0.55, 0.66],
    }
    validation = {"undersample": 0.7, "augment": 0.6, "ddpm": 0.9}
    reference = find_reference(make_rows(cells(scores, validation=validation)))
    assert reference is not None
    assert reference.arm == "undersample"
    # the claim is against all of them, so that no choice can spare it the hardest
    assert answered(scores, validation).startswith("No, the baseline, which costs no generator")


@pytest.mark.usefixtures("smote")
def test_smote_is_a_remedy_and_a_synthetic_set_is_what_its_generator_is() -> None:
    cell_records = cells(
        {"none": [0.5] * 3, "smote": [0.6] * 3, "own": [0.7] * 3, "blend": [0.6] * 3}
    )
    origins = {
        "pets-smote": Origin("smote", is_unverified=False),
        "pets-own": Origin("folder", is_unverified=True),
        "pets-blend": Origin("smote", is_unverified=False),
    }
    arm_rows = {row.arm: row for row in make_rows(cell_records, origins)}
    free = {arm: row.free for arm, row in arm_rows.items()}
    assert free == {"none": True, "smote": True, "own": False, "blend": True}
    assert [arm for arm, row in arm_rows.items() if row.unverified] == ["own"]
    answer = answer_text(list(arm_rows.values()), redraw=False)
    assert answer.endswith(
        "Unverified: the images of own, 1.0, always are of unknown origin; whether their generator "
        "was trained on other images too is not known."
    )


def test_the_reference_is_chosen_over_the_seeds_that_all_free_arms_have() -> None:
    """A failed seed neither removes the strongest remedy nor makes an easy one the strongest."""
    cell_records = cells(
        {"none": [0.5] * 5, "oversample": [0.8] * 4, "ddpm": [0.7, 0.701, 0.7, 0.702, 0.7]},
        validation={"oversample": 0.8},
    )
    arm_rows = make_rows(cell_records)
    reference = find_reference(arm_rows)
    assert reference is not None
    assert reference.arm == "oversample"
    assert is_gain_proven(*claimed(cell_records)) is False
    answer = answer_of(cell_records, failed=1)
    assert answer.startswith(
        "No, oversample, which costs no generator, is better than ddpm at 1.0 (-9.9 points"
    )
    assert answer.endswith("1 classifier failed and is missing here.")
    # the easy seed alone: on seed 0 both have 0.9, on the others focal has nothing
    easy = [
        *cells({"none": [0.5, 0.6, 0.7], "ddpm": [0.5, 0.6, 0.71]}),
        cell_record("focal", 0, 0.9),
    ]
    scored = [
        each.model_copy(
            update={
                "best": each.best.model_copy(
                    update={"validation_macro_f1": 0.9 if each.seed == 0 else 0.5}
                )
            }
        )
        for each in easy
    ]
    reference = find_reference(make_rows(scored))
    assert reference is not None
    assert reference.arm == "none"


def test_images_of_unknown_origin_prove_nothing() -> None:
    cell_records = cells(MORE_RIVALS, validation={"oversample": 0.6}, updates=100)
    origins = {f"pets-{arm}": Origin(arm, is_unverified=True) for arm in RIVALS}
    assert is_gain_proven(*claimed(cell_records, origins)) is False
    trusted = {name: replace(origin, is_unverified=False) for name, origin in origins.items()}
    assert is_gain_proven(*claimed(cell_records, trusted)) is True


def test_equal_differences_in_float32_are_not_tested() -> None:
    """As cells of version 0.1.0 hold them."""
    base = [0.31, 0.42, 0.55]
    scores = {
        "none": [float(np.float32(v)) for v in base],
        "oversample": [float(np.float32(v + 0.02)) for v in base],
    }
    assert np.ptp(np.subtract(scores["oversample"], scores["none"])) > 0  # not equal as they are
    assert "oversample cannot be tested (the same difference, +2.0 points," in answered(scores)


def test_numbers_are_not_rounded_over_the_line() -> None:
    assert [format_p(p, "= ") for p in (0.04999, 0.0500004, 0.05, 0.1884)] == [
        "= 0.04999",
        "= 0.0500004",
        "= 0.05000000",
        "= 0.188",
    ]
    assert [format_points(v) for v in (0.04, -0.004, 0.0, 3.26)] == ["0.04", "-0.004", "0.0", "3.3"]
    assert column("Gain over baseline").format(-0.001) == "+0.00"


def test_classes_that_seeds_lack_are_named_with_their_seeds() -> None:
    assert absence_sentence({0: [], 1: []}, redraw=True) == ""
    assert absence_sentence({0: ["cat", "dog"]}, redraw=False) == (
        "The test split has no image of cat, dog: averages are over the other classes, for all "
        "arms."
    )
    assert absence_sentence({0: [], 1: ["cat"], 2: ["dog"]}, redraw=True) == (
        "Test splits lack classes (cat at seed 1; dog at seed 2): averages of these seeds are over "
        "their other classes, for all arms."
    )


@pytest.mark.parametrize(
    ("scores", "validation", "green"),
    [
        ({"none": [0.5, 0.6, 0.7], "focal": [0.54, 0.64, 0.739]}, {}, True),
        ({"none": [0.5, 0.6, 0.7], "focal": [0.46, 0.56, 0.659]}, {}, False),  # a proven loss
        ({"none": [0.5, 0.6, 0.7], "focal": [0.51, 0.62, 0.76]}, {}, False),  # unclear
        ({"none": [0.5, 0.6], "focal": [0.9, 0.98]}, {}, False),  # two seeds
        ({"none": [0.5, 0.6, 0.7], "focal": [0.6, 0.7, 0.8]}, {}, False),  # no variance
        (MORE_RIVALS, {"oversample": 0.6}, True),
        (MORE_RIVALS, {"ddpm": 0.6}, False),  # the best on validation is not the best on test
        ({k: v for k, v in MORE_RIVALS.items() if k != "bagan-gp"}, {"oversample": 0.6}, False),
        (RIVALS, {}, False),  # a rival is missing
        (MORE_RIVALS, {"none": 0.6}, True),  # the reference is the baseline
    ],
)
def test_only_a_proven_gain_is_green(
    scores: dict[str, list[float]], validation: dict[str, float], green: bool
) -> None:
    assert is_gain_proven(*claimed(cells(scores, validation=validation, updates=100))) is green


def test_without_a_baseline_generated_arms_still_meet_the_reference() -> None:
    scores = {arm: values for arm, values in RIVALS.items() if arm != "none"}
    assert answered(scores).startswith(
        "bagan-gp at 1.0 beats the arms tried that cost no generator: +1.5 points of macro-F1 over "
        "the closest, oversample (95 %: 1.3 to 1.6). "
        f"{missing('oversample', 'none, augment+oversample, logit-adjusted-after')}"
    )


def test_the_answer_names_what_each_seed_drew_and_what_is_missing() -> None:
    scores = {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]}
    assert answered(scores, redraw=True).endswith(
        f"{conditions(1, drawn='generator redrawn each time')}; {EPOCHS}; the draws are "
        "from this one dataset and overlap.)"
    )
    scores["focal"] = scores.pop("ddpm")
    assert "(3 seeds, each with its own skew; " in answered(scores, redraw=True)
    assert answered(scores, failed=2).endswith("2 classifiers failed and are missing here.")
    assert answered(scores, absent="No cats.").endswith("No cats.")


def test_arms_with_failed_seeds_are_counted_by_what_they_have() -> None:
    answer = answered({"none": [0.5, 0.6, 0.7, 0.6], "focal": [0.51, 0.62, 0.76], "augment": [0.6]})
    assert "nothing can be said about focal with 3 seeds (" in answer
    assert "augment cannot be tested (1 seed in common)" in answer
    assert "(1 to 3 seeds, skew fixed; " in answer


def test_with_one_seed_the_largest_difference_may_be_a_loss() -> None:
    """-9 points is a larger difference than -1 point."""
    answer = answered({"none": [0.5], "bagan-gp": [0.49], "ddpm": [0.41]})
    assert "difference in macro-F1 to the baseline is -9.0 points, for ddpm at 1.0" in answer


def test_the_papers_own_figure_is_the_best_of_so_many_epochs() -> None:
    curve = [
        EpochRecord(epoch=epoch, validation_accuracy=0.5, test_accuracy=value)
        for epoch, value in enumerate((0.5, 0.8, 0.6, 0.9), start=1)
    ]
    assert paper_figure(curve, 3) == 0.8
    assert paper_figure(curve, 4) == 0.9
    assert paper_figure(curve, 5) is None
    row = rows({"none": [0.5, 0.5]}, epochs=20)["none"]
    assert row.best_test_accuracy_20_epochs == pytest.approx(0.6)
    assert row.best_test_accuracy_30_epochs is None


@pytest.mark.parametrize(
    ("name", "amount", "paper"),
    [
        ("none", None, 88.875),
        ("ddpm", "1000", 86.371),
        ("bagan-gp until:10", "1000", 88.3468),
        ("ddpm real-every:4", "1000", 87.1976),
        ("bagan-gp until:4", "1000", None),
        ("ddpm", "1.0", None),
        ("focal", None, None),
    ],
)
def test_the_papers_figure_belongs_to_its_data_arm_amount_and_schedule(
    name: str, amount: str | None, paper: float | None
) -> None:
    records = [cell.model_copy(update={"amount": amount}) for cell in cells({name: [0.5]})]
    (row,) = make_rows(records, is_paper_data=True)
    assert row.paper_accuracy == paper
    (row,) = make_rows(records)
    assert row.paper_accuracy is None


def test_a_table_row_reads_in_percent_and_points() -> None:
    row = rows({"none": [0.50, 0.60, 0.70], "ddpm until:10": [0.51, 0.62, 0.76]}, 20)["ddpm"]
    row = row.model_copy(update={"generator_seconds": 589.0})
    assert {c.title: c.format(c.value(row)) for c in columns()} == {
        "Arm": "ddpm, 1.0, until epoch 10",
        "Macro-F1": "63.00",
        "± SD": "12.53",
        "Gain over baseline": "+3.00",
        "95 % from": "-3.57",
        "95 % to": "+9.57",
        "p, corrected": "0.188",
        "Gain over reference": "–",
        "Reference: 95 % from": "–",
        "Reference: 95 % to": "–",
        "Reference: p, corrected": "–",
        "Validation macro-F1": "50.00",
        "Accuracy": "60.00",
        "Balanced accuracy": "50.00",
        "AUROC": "75.00",
        "AUPRC": "–",
        "Rare-class recall at 95 % specificity": "–",
        "Calibration error": "12.50",
        "Brier score": "–",
        "Negative log-likelihood": "–",
        "Swing": "10.00",
        "Last epoch": "60.00",
        "Updates": "–",
        "Images seen": "–",
        "Minutes": "10.0",
        "Best epoch (chosen on test)": "60.00",
        "… of 20": "60.00",
        "… of 30": "–",
        "The paper's": "–",
        "Seeds": "3",
    }


def test_columns_without_a_value_are_left_out() -> None:
    shown, values = table(make_rows(cells({"none": [0.5], "focal": [0.6]})))
    records = [dict(zip((c.title for c in shown), line, strict=True)) for line in values]
    assert not {"95 % from", "… of 20", "The paper's", "Minutes"} & set(records[1])
    assert records[1]["Gain over baseline"] == pytest.approx(10.0)
    assert column("Gain over baseline").format(records[0]["Gain over baseline"]) == "–"
