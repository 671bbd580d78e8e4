"""From cells to gains, intervals and an answer that is true of them."""

from typing import Any

import pytest
from scipy.stats import t

from rebalance_core.comparison.configs import CompareConfig
from rebalance_core.comparison.results import (
    arm_name,
    interval,
    paper_figure,
    summarise,
    table_row,
)
from rebalance_core.datasets.training_set import SetConfig, TrainingSet

CHOSEN = TrainingSet(
    name="pets-small",
    config=SetConfig(dataset="pets", skew="step:10"),
    fingerprint="f" * 64,
    classes=("cat", "dog"),
    counts={"cat": 100, "dog": 10},
    train=("a",),
    validation=("b",),
    test=("c",),
)


def cell(
    arm: str, seed: int, macro_f1: float, schedule: str = "always", epochs: int = 2
) -> dict[str, Any]:
    """A finished cell whose test accuracy is 0.5 in the first epoch and 0.6 from then on."""
    return {
        "arm": arm, "schedule": schedule, "seed": seed,
        "plan": {} if arm == "none" else {"dog": 90},
        "synthetic": None if arm == "none" else f"pets-{arm}",
        "best": {
            "epoch": 1 + seed,
            "test": {"accuracy": 0.5 + seed / 10, "macro_f1": macro_f1,
                     "recall": [1.0, seed / 2], "confusion": [[10, 0], [8, 2]]},
        },
        "curve": [{"test_accuracy": 0.6 if e else 0.5} for e in range(epochs)],
        "seconds": 10.0 + seed,
    }  # fmt: skip


def summarised(scores: dict[str, list[float]], epochs: int = 2) -> dict[str, Any]:
    """`arm` or `arm schedule` → a macro-F1 a seed."""
    seeds = tuple(range(len(next(iter(scores.values())))))
    cells = []
    for name, values in scores.items():
        arm, _, schedule = name.partition(" ")
        cells += [
            cell(arm, seed, value, schedule or "always", epochs)
            for seed, value in enumerate(values)
        ]
    return summarise(CHOSEN, CompareConfig(set="pets-small", seeds=seeds), cells)


def rows(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["arm"]: row for row in summary["results"]}


def test_an_interval_is_the_t_interval_of_the_mean() -> None:
    assert interval([]) is None
    assert interval([3.0]) is None
    values = [1.0, 2.0, 6.0]
    mean, error = 3.0, (7 / 3) ** 0.5  # the standard error: √(7 ÷ 3), as 4 + 1 + 9 = 2 · 7
    expected = t.interval(0.95, 2, loc=mean, scale=error)
    assert interval(values) == pytest.approx(expected, abs=1e-12)
    assert interval(values) == pytest.approx((-3.5724, 9.5724), abs=1e-4)
    assert interval([5.0, 5.0]) == (5.0, 5.0)


def test_gains_are_paired_by_seed_in_points() -> None:
    summary = summarised({"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]})
    row = rows(summary)["ddpm"]
    assert row["gain"] == pytest.approx(3.0)
    assert row["gain_interval"] == pytest.approx((-3.5724, 9.5724), abs=1e-4)
    assert row["macro_f1"] == pytest.approx(0.63)
    assert row["macro_f1_std"] == pytest.approx(0.125299640861)
    assert row["macro_f1_interval"] == pytest.approx(
        t.interval(0.95, 2, loc=0.63, scale=0.125299640861 / 3**0.5)
    )
    baseline = rows(summary)["none"]
    assert (baseline["gain"], baseline["gain_interval"]) == (None, None)


def test_seeds_are_paired_whatever_their_order() -> None:
    cells = [cell("ddpm", 1, 0.62), cell("none", 0, 0.5), cell("ddpm", 0, 0.51),
             cell("none", 1, 0.6)]  # fmt: skip
    summary = summarise(CHOSEN, CompareConfig(set="pets-small", seeds=(0, 1)), cells)
    assert rows(summary)["ddpm"]["gain"] == pytest.approx(1.5)
    assert rows(summary)["ddpm"]["seeds"] == [1, 0]


def test_a_row_holds_the_means_of_its_cells() -> None:
    row = rows(summarised({"none": [0.4, 0.5], "bagan-gp until:10": [0.5, 0.5]}))["bagan-gp"]
    assert row["schedule"] == "until:10"
    assert (row["added"], row["synthetic"]) == ({"dog": 90}, "pets-bagan-gp")
    assert (row["seeds"], row["epoch"]) == ([0, 1], [1, 2])
    assert row["accuracy"] == pytest.approx(0.55)
    assert row["recall"] == [1.0, 0.25]
    assert row["confusion"] == [[20, 0], [16, 4]]
    assert row["seconds"] == 10.5
    assert row["best_test_accuracy"] == pytest.approx(0.6)


def test_one_seed_has_no_interval() -> None:
    row = rows(summarised({"none": [0.5], "ddpm": [0.52]}))["ddpm"]
    assert row["gain"] == pytest.approx(2.0)
    unknown = ("gain_interval", "macro_f1_interval", "macro_f1_std")
    assert [row[name] for name in unknown] == [None, None, None]


def test_the_summary_says_what_it_is_of() -> None:
    summary = summarised({"none": [0.5, 0.5], "ddpm": [0.5, 0.5]})
    told = {k: summary[k] for k in summary if k not in ("results", "answer")}
    assert told == {
        "set": "pets-small", "dataset": "pets", "fingerprint": "f" * 64, "split": "official",
        "skew": "step:10", "classes": ["cat", "dog"], "counts": {"cat": 100, "dog": 10},
        "preset": "paper", "seeds": [0, 1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ({"none": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        ({"ddpm": [0.5, 0.6]}, "Nothing was compared with the baseline."),
        (
            {"none": [0.5], "bagan-gp": [0.49], "ddpm until:10": [0.52]},
            "With one seed nothing can be said beyond chance: the largest difference in macro-F1 "
            "is +2.0 points, for ddpm (until epoch 10), its interval unknown; compare over more "
            "seeds.",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "ddpm": [0.51, 0.62, 0.76]},
            "No arm differs from baseline (95 % intervals of macro-F1 hold zero; 3 seeds, "
            "training set and generators fixed).",
        ),
        (
            {"none": [0.50, 0.60, 0.70], "ddpm": [0.55, 0.66, 0.75], "bagan-gp": [0.5, 0.61, 0.7]},
            "Against baseline, macro-F1 changes by: ddpm (always) +5.3 points (95 %: 3.9 to 6.8) "
            "(3 seeds, training set and generators fixed; not corrected for 2 arms).",
        ),
        (
            {"none": [0.50, 0.60], "ddpm": [0.40, 0.5001], "bagan-gp real-every:4": [0.52, 0.6201]},
            "Against baseline, macro-F1 changes by: bagan-gp (every 4th epoch real only) +2.0 "
            "points (95 %: 1.9 to 2.1); ddpm (always) -10.0 points (95 %: -10.1 to -9.9) (2 seeds, "
            "training set and generators fixed; not corrected for 2 arms).",
        ),
    ],
    ids=["baseline alone", "no baseline", "one seed", "no difference", "one clear", "both ways"],
)
def test_the_answer_is_true_of_the_rows(scores: dict[str, list[float]], answer: str) -> None:
    assert summarised(scores)["answer"] == answer


def test_with_one_seed_the_largest_difference_may_be_a_loss() -> None:
    """-9 points is a larger difference than -1 point."""
    answer = summarised({"none": [0.5], "bagan-gp": [0.49], "ddpm": [0.41]})["answer"]
    assert "the largest difference in macro-F1 is -9.0 points, for ddpm (always)" in answer


def test_the_papers_own_figure_is_the_best_of_so_many_epochs() -> None:
    curve = [{"test_accuracy": value} for value in (0.5, 0.8, 0.6, 0.9)]
    assert paper_figure(curve, 3) == 0.8
    assert paper_figure(curve, 4) == 0.9
    assert paper_figure(curve, 5) is None
    row = rows(summarised({"none": [0.5, 0.5]}, epochs=20))["none"]
    assert row["best_test_accuracy_20_epochs"] == pytest.approx(0.6)
    assert row["best_test_accuracy_30_epochs"] is None


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("none", 88.875),
        ("ddpm", 86.371),
        ("bagan-gp until:4", 88.3468),
        ("ddpm real-every:3", 87.1976),
    ],
)
def test_the_papers_figure_stands_beside_its_arm_and_schedule(name: str, paper: float) -> None:
    (row,) = summarised({name: [0.5]})["results"]
    assert row["paper_accuracy"] == paper


def test_a_table_row_reads_in_percent_and_points() -> None:
    summary = summarised({"none": [0.50, 0.60, 0.70], "ddpm until:10": [0.51, 0.62, 0.76]}, 20)
    assert table_row(rows(summary)["ddpm"]) == {
        "Arm": "ddpm, until epoch 10",
        "Accuracy": "60.00",
        "Macro-F1": "63.00",
        "Difference to baseline": "+3.00 (-3.57 to +9.57)",
        "Chosen epoch": "1, 2, 3",
        "Best epoch's accuracy": "60.00",
        "… of 20 epochs": "60.00",
        "… of 30 epochs": "–",
        "The paper's": "85.42",
        "Seeds": "3",
        "Training, s": "11",
    }


def test_the_baselines_row_has_no_difference_and_no_schedule() -> None:
    row = summarised({"none": [0.5]})["results"][0]
    assert row["schedule"] is None
    assert arm_name(row) == "none"
    assert table_row(row)["Difference to baseline"] == "–"


def test_one_seeds_difference_says_that_its_interval_is_unknown() -> None:
    row = rows(summarised({"none": [0.5], "ddpm": [0.47]}))["ddpm"]
    assert table_row(row)["Difference to baseline"] == "-3.00 (interval unknown)"
