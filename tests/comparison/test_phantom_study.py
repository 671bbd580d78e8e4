"""The sentence of the superseded study in docs/results is true of its cells, by scipy."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.metrics import f1_score

from rebalance_core.classifiers.schedules import Schedule
from rebalance_core.comparison.answer import answer_text
from rebalance_core.comparison.records import Claim, Row
from rebalance_core.comparison.statistics import estimate

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
STUDY: dict[str, Any] = json.loads((RESULTS / "comparison-phantom-step20.json").read_text())


def scores() -> dict[str, list[float]]:
    """{arm as the sentence names it: macro-F1 a seed}, from the table of classifiers."""
    results: dict[str, dict[int, float]] = {}
    with (RESULTS / "comparison-phantom-step20-cells.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            name = line["arm"]
            if line["amount"]:
                words = Schedule.parse(line["schedule"]).words
                name += f" at {line['amount']}" + ("" if words == "always" else f", {words}")
            results.setdefault(name, {})[int(line["seed"])] = float(line["test_macro_f1"])
    return {name: [by[s] for s in sorted(by)] for name, by in results.items()}


def validation_means() -> dict[str, float]:
    """{arm: mean validation macro-F1}, from the table of classifiers."""
    results: dict[str, list[float]] = {}
    with (RESULTS / "comparison-phantom-step20-cells.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            results.setdefault(line["arm"], []).append(float(line["validation_macro_f1"]))
    return {arm: float(np.mean(values)) for arm, values in results.items()}


def check_numbers(
    sentence: str, results: dict[str, list[float]], other: list[float], m: int
) -> None:
    """Every gain, interval and p of one sentence, recomputed with scipy."""
    shown = re.findall(
        r"(?:^|; |, )([\w-]+(?: at [\d.]+)?(?:, [\w ]+?)?) "
        r"(raises macro-F1|lowers macro-F1|wins|loses)"
        r" by ([\d.]+) points \(95 %: (-?[\d.]+) to (-?[\d.]+), p (?:= ([\d.]+)|< 0.001)\)",
        sentence,
    )
    tests = {name: ttest_rel(values, other) for name, values in results.items()}
    clear = {name for name, test in tests.items() if m * test.pvalue < 0.05}
    assert {name for name, *_ in shown} == clear
    for name, word, gain, low, high, p in shown:
        differences = 100 * np.subtract(results[name], other)
        assert (word in ("raises macro-F1", "wins")) == (differences.mean() > 0)
        assert abs(differences.mean()) == pytest.approx(float(gain), abs=0.05)
        bounds = tests[name].confidence_interval(1 - 0.05 / m)
        ends = sorted([abs(100 * bounds.low), abs(100 * bounds.high)])
        assert ends == pytest.approx(sorted([float(low), float(high)]), abs=0.05)
        assert m * tests[name].pvalue == pytest.approx(float(p or 0.0005), abs=0.0005)


def test_every_number_of_the_answer_follows_from_the_cells() -> None:
    results = scores()
    baseline = results.pop("none")
    generated = {name: values for name, values in results.items() if " at " in name}
    assert (len(results), len(generated)) == (8, 6)
    assert {len(v) for v in results.values()} == {len(baseline)} == {5}
    means = {arm: v for arm, v in validation_means().items() if arm not in ("ddpm", "bagan-gp")}
    assert max(means, key=means.__getitem__) == "oversample"
    against, to_baseline = STUDY["answer"].split(" Against the baseline, ")
    opening = "Against oversample (of the arms without a generator the best on validation), "
    assert against.startswith(opening)
    check_numbers(against.removeprefix(opening), generated, results["oversample"], 14)
    check_numbers(to_baseline, results, baseline, 14)
    assert "no generated arm is shown to win" in against
    assert STUDY["answer"].endswith(
        "(5 seeds, skew and generator fixed; intervals and p corrected for 14 comparisons; arms "
        "had equal epochs, not equal updates.)"
    )
    assert STUDY["proven_gain"] is False


def test_the_answer_at_equal_updates_follows_from_the_kept_probabilities() -> None:
    """The claim's contrast, recomputed from the committed predictions by scikit-learn."""
    study = json.loads((RESULTS / "comparison-phantom-step20-equal-updates.json").read_text())
    with np.load(RESULTS / "comparison-phantom-step20-equal-updates.npz") as kept:
        labels, arms = kept["labels"].astype(int), kept["arms"].tolist()
        predictions = kept["probabilities"].argmax(axis=-1)
    claim = study["claim"]
    assert (claim["primary"], claim["closest"]) == ("ddpm, 1.0, always", "augment+oversample")
    first, second = (predictions[arms.index(claim[key])] for key in ("primary", "closest"))

    def gain(kept: np.ndarray) -> np.ndarray:
        """The differences in macro-F1 of each seed on some of the images, in points."""
        return np.array(
            [
                100
                * (
                    f1_score(labels[kept], a[kept], average="macro", zero_division=0)
                    - f1_score(labels[kept], b[kept], average="macro", zero_division=0)
                )
                for a, b in zip(first, second, strict=True)
            ]
        )

    everything = np.ones(len(labels), bool)
    gains = gain(everything)
    assert claim["against"]["augment+oversample"]["gains"] == pytest.approx(gains)
    left_out = []
    for image in range(len(labels)):
        kept = everything.copy()
        kept[image] = False
        left_out.append(gain(kept))
    of = estimate(gains.tolist(), np.array(left_out).T)
    assert of is not None
    low, high = claim["against"]["augment+oversample"]["interval"]
    assert of.interval() == pytest.approx((low, high))
    assert f"95 %: {low:.1f} to {high:.1f}" in study["answer"]
    rows = [Row.model_validate(row) for row in study["results"]]
    read = Claim.model_validate(claim)
    assert answer_text(rows, read, redraw=study["redraw"]) == study["answer"]
    assert study["answer"] in (RESULTS / "comparison.md").read_text()
