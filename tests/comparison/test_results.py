"""From cells to gains, intervals and an answer that is true of them."""

from typing import Any

import pytest
from scipy.stats import t, ttest_rel

from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.results import (
    answer,
    in_words,
    paper_figure,
    rows_of,
    table,
    table_row,
)
from rebalance_core.comparison.statistics import bootstrap_interval


def cell(
    arm: str, seed: int, macro_f1: float, schedule: str = "always", epochs: int = 2
) -> dict[str, Any]:
    """A finished cell whose test accuracy is 0.5 in the first epoch and 0.6 from then on."""
    adds = Arm.parse(arm).images is not None
    test = {
        "accuracy": 0.5 + seed / 10, "balanced_accuracy": 0.5, "macro_f1": macro_f1, "auroc": 0.75,
        "calibration_error": 0.125, "precision": [0.5, 1.0], "recall": [1.0, seed / 2],
        "confusion": [[10, 0], [8, 2]],
    }  # fmt: skip
    return {
        "arm": arm, "amount": "1.0" if adds else None, "schedule": schedule, "seed": seed,
        "plan": {"dog": 90} if adds else {}, "synthetic": f"pets-{arm}" if adds else None,
        "best": {"epoch": 1 + seed, "validation_macro_f1": 0.5, "test": test},
        "curve": [
            {"test_accuracy": 0.6 if e else 0.5, "validation_accuracy": 0.5 + 0.1 * (e % 2)}
            for e in range(epochs)
        ],
        "seconds": 10.0 + seed,
    }  # fmt: skip


def cells(scores: dict[str, list[float]], epochs: int = 2) -> list[dict[str, Any]]:
    """`arm` or `arm schedule` → a macro-F1 a seed."""
    made = []
    for name, values in scores.items():
        arm, _, schedule = name.partition(" ")
        made += [
            cell(arm, seed, value, schedule or "always", epochs)
            for seed, value in enumerate(values)
        ]
    return made


def rows(scores: dict[str, list[float]], epochs: int = 2) -> dict[str, dict[str, Any]]:
    return {row["arm"]: row for row in rows_of(cells(scores, epochs))}


def answered(scores: dict[str, list[float]], **options: Any) -> str:
    return answer(rows_of(cells(scores)), **{"redraw": False, **options})


def test_gains_are_paired_by_seed_in_points() -> None:
    row = rows({"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]})["ddpm"]
    assert row["gains"] == pytest.approx([1.0, 2.0, 6.0])
    assert row["gain"] == pytest.approx(3.0)
    assert row["gain_t_interval"] == pytest.approx((-3.5724, 9.5724), abs=1e-4)
    assert row["gain_interval"] == pytest.approx(bootstrap_interval([1.0, 2.0, 6.0]))
    assert row["p"] == pytest.approx(ttest_rel([0.51, 0.62, 0.76], [0.5, 0.6, 0.7]).pvalue)
    assert row["p_corrected"] == row["p"]
    assert row["macro_f1"] == pytest.approx(0.63)
    assert row["macro_f1_std"] == pytest.approx(0.125299640861)
    assert row["macro_f1_interval"] == pytest.approx(
        t.interval(0.95, 2, loc=0.63, scale=0.125299640861 / 3**0.5)
    )


def test_the_baseline_has_no_difference_and_no_schedule() -> None:
    row = rows({"none": [0.5, 0.6]})["none"]
    unknown = ("gain", "gain_interval", "p", "p_corrected", "schedule", "amount", "synthetic")
    assert [row[name] for name in unknown] == [None] * 7
    assert row["name"] == "none"


def test_p_values_are_corrected_for_the_number_of_arms() -> None:
    told = rows({
        "none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76], "focal": [0.55, 0.66, 0.75],
    })  # fmt: skip
    assert told["focal"]["p_corrected"] == pytest.approx(2 * told["focal"]["p"])
    assert told["ddpm"]["p_corrected"] == pytest.approx(told["ddpm"]["p"])


def test_seeds_are_paired_whatever_their_order() -> None:
    mixed = [cell("ddpm", 1, 0.62), cell("none", 0, 0.5), cell("ddpm", 0, 0.51),
             cell("none", 1, 0.6)]  # fmt: skip
    row = {r["arm"]: r for r in rows_of(mixed)}["ddpm"]
    assert row["gain"] == pytest.approx(1.5)
    assert row["seeds"] == [1, 0]


def test_a_row_holds_the_means_of_its_cells() -> None:
    row = rows({"none": [0.4, 0.5], "bagan-gp until:10": [0.5, 0.5]})["bagan-gp"]
    assert row["schedule"] == "until:10"
    assert row["name"] == "bagan-gp, 1.0, until epoch 10"
    assert (row["added"], row["synthetic"]) == ({"dog": 90}, "pets-bagan-gp")
    assert (row["seeds"], row["epoch"]) == ([0, 1], [1, 2])
    assert row["accuracy"] == pytest.approx(0.55)
    assert (row["auroc"], row["calibration_error"]) == (0.75, 0.125)
    assert (row["precision"], row["recall"]) == ([0.5, 1.0], [1.0, 0.25])
    assert row["confusion"] == [[20, 0], [16, 4]]
    assert row["seconds"] == 10.5
    assert row["best_test_accuracy"] == pytest.approx(0.6)
    assert row["validation_swing"] == pytest.approx(0.1)


def test_one_seed_has_no_interval() -> None:
    row = rows({"none": [0.5], "ddpm": [0.52]})["ddpm"]
    assert row["gain"] == pytest.approx(2.0)
    unknown = ("gain_interval", "gain_t_interval", "macro_f1_interval", "macro_f1_std", "p")
    assert [row[name] for name in unknown] == [None] * 5


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({"none": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        ({"ddpm": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        (
            {"none": [0.5], "bagan-gp": [0.49], "ddpm until:10": [0.52]},
            "With one seed nothing can be said beyond chance: the largest difference in macro-F1 "
            "is +2.0 points, for ddpm at 1.0, until epoch 10, its interval unknown; compare over "
            "more seeds.",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]},
            "No arm differs from baseline beyond chance (3 seeds, skew and generator fixed; the "
            "largest difference in macro-F1 is +3.0 points, for ddpm at 1.0, 95 %: 1.0 to 6.0, "
            "p = 0.188 corrected for 1 arm).",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "ddpm": [0.555, 0.655, 0.753], "focal": [0.5, 0.61, 0.7]},
            "ddpm at 1.0 raises macro-F1 by 5.4 points (95 %: 5.3 to 5.5, p < 0.001); the other 1 "
            "arm shows no difference (3 seeds, skew and generator fixed; p corrected for 2 arms).",
        ),
        (
            {
                "none": [0.5, 0.6, 0.7],
                "focal": [0.4, 0.501, 0.6],
                "oversample": [0.52, 0.62, 0.721],
            },
            "oversample raises macro-F1 by 2.0 points (95 %: 2.0 to 2.1, p < 0.001); focal lowers "
            "macro-F1 by 10.0 points (95 %: 9.9 to 10.0, p < 0.001) (3 seeds, skew fixed; p "
            "corrected for 2 arms).",
        ),
    ],
    ids=["baseline alone", "no baseline", "one seed", "no difference", "one clear", "both ways"],
)
def test_the_answer_is_true_of_the_rows(scores: dict[str, list[float]], told: str) -> None:
    assert answered(scores) == told


def test_the_answer_says_what_each_seed_drew_and_what_failed() -> None:
    scores = {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]}
    assert "(3 seeds, generator redrawn each time; " in answered(scores, redraw=True)
    scores["focal"] = scores.pop("ddpm")
    assert "(3 seeds, each with its own skew; " in answered(scores, redraw=True)
    assert answered(scores, failed=2).endswith("2 classifiers failed and are missing here.")


def test_with_one_seed_the_largest_difference_may_be_a_loss() -> None:
    """-9 points is a larger difference than -1 point."""
    told = answered({"none": [0.5], "bagan-gp": [0.49], "ddpm": [0.41]})
    assert "the largest difference in macro-F1 is -9.0 points, for ddpm at 1.0" in told


def test_the_papers_own_figure_is_the_best_of_so_many_epochs() -> None:
    curve = [{"test_accuracy": value} for value in (0.5, 0.8, 0.6, 0.9)]
    assert paper_figure(curve, 3) == 0.8
    assert paper_figure(curve, 4) == 0.9
    assert paper_figure(curve, 5) is None
    row = rows({"none": [0.5, 0.5]}, epochs=20)["none"]
    assert row["best_test_accuracy_20_epochs"] == pytest.approx(0.6)
    assert row["best_test_accuracy_30_epochs"] is None


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("none", 88.875),
        ("ddpm", 86.371),
        ("bagan-gp until:4", 88.3468),
        ("ddpm real-every:3", 87.1976),
        ("focal", None),
    ],
)
def test_the_papers_figure_stands_beside_its_arm_and_schedule(
    name: str, paper: float | None
) -> None:
    (row,) = rows({name: [0.5]}).values()
    assert row["paper_accuracy"] == paper


def test_a_table_row_reads_in_percent_and_points() -> None:
    row = rows({"none": [0.50, 0.60, 0.70], "ddpm until:10": [0.51, 0.62, 0.76]}, 20)["ddpm"]
    told = table_row({**row, "generator_seconds": 589.0})
    assert {name: in_words(name, value) for name, value in told.items()} == {
        "Arm": "ddpm, 1.0, until epoch 10",
        "Macro-F1": "63.00",
        "± SD": "12.53",
        "Difference": "+3.00",
        "95 % from": "+1.00",
        "95 % to": "+6.00",
        "p, corrected": "0.188",
        "Accuracy": "60.00",
        "Balanced accuracy": "50.00",
        "AUROC": "75.00",
        "Calibration error": "12.50",
        "Swing": "10.00",
        "Minutes": "10.0",
        "Best epoch": "60.00",
        "… of 20": "60.00",
        "… of 30": "–",
        "The paper's": "85.42",
        "Seeds": "3",
    }


def test_columns_that_say_nothing_are_left_out() -> None:
    told = table(rows_of(cells({"none": [0.5], "focal": [0.6]})))
    assert not {"95 % from", "… of 20", "The paper's", "Minutes"} & set(told[1]) - {"The paper's"}
    assert told[0]["The paper's"] == 88.875
    assert told[1]["Difference"] == pytest.approx(10.0)
    assert in_words("Difference", told[0]["Difference"]) == "–"
