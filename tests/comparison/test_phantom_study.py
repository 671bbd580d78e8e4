"""The sentence of the study in docs/results is true of its cells, worked out anew with scipy."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from rebalance_core.comparison.results import answer
from rebalance_core.comparison.schedules import Schedule

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
STUDY: dict[str, Any] = json.loads((RESULTS / "comparison-phantom-step20.json").read_text())


def scores() -> dict[str, list[float]]:
    """{arm as the sentence names it: macro-F1 a seed}, from the table of classifiers."""
    found: dict[str, dict[int, float]] = {}
    with (RESULTS / "comparison-phantom-step20-cells.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            name = line["arm"]
            if line["amount"]:
                words = Schedule.parse(line["schedule"]).words
                name += f" at {line['amount']}" + ("" if words == "always" else f", {words}")
            found.setdefault(name, {})[int(line["seed"])] = float(line["test_macro_f1"])
    return {name: [by[s] for s in sorted(by)] for name, by in found.items()}


def test_every_number_of_the_sentence_follows_from_the_cells() -> None:
    found = scores()
    baseline = found.pop("none")
    assert len(found) == 8
    assert {len(v) for v in found.values()} == {len(baseline)} == {5}
    ps = {name: float(ttest_rel(v, baseline).pvalue) for name, v in found.items()}
    clear, level = [], 0.0
    for rank, name in enumerate(sorted(ps, key=ps.__getitem__)):  # Holm, step by step
        level = max(level, (len(ps) - rank) * ps[name])
        if level >= 0.05:
            break
        clear.append((name, level))
    said = re.findall(
        r"([^;]+?) (raises|lowers) macro-F1 by ([\d.]+) points \(95 %: (-?[\d.]+) to (-?[\d.]+), "
        r"p = ([\d.]+)\)",
        STUDY["answer"],
    )
    assert {name.strip() for name, *_ in said} == {name for name, _ in clear}
    for name, word, gain, low, high, p in said:
        differences = 100 * np.subtract(found[name.strip()], baseline)
        assert (word == "raises") == (differences.mean() > 0)
        assert abs(differences.mean()) == pytest.approx(float(gain), abs=0.05)
        interval = bootstrap(
            (differences,), np.mean, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        assert (interval.low, interval.high) == pytest.approx((float(low), float(high)), abs=0.05)
        assert dict(clear)[name.strip()] == pytest.approx(float(p), abs=0.0005)
    others = len(found) - len(clear)
    assert f"the other {others} arms show no difference" in STUDY["answer"]
    assert "(5 seeds, skew and generator fixed; p corrected for 8 arms)" in STUDY["answer"]


def test_the_sentence_is_what_the_rows_give() -> None:
    assert answer(STUDY["results"], redraw=STUDY["redraw"]) == STUDY["answer"]
