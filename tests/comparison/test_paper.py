"""What the paper found, beside what a comparison at its settings found."""

from collections.abc import Sequence

import pytest
from cell_records import cell_record
from scipy.stats import ttest_1samp

from rebalance_core.comparison.paper import Measured, paper_findings
from rebalance_core.comparison.records import CellRecord

SEEDS = range(3)


def cell(arm: str, schedule: str, seed: int, accuracies: Sequence[float]) -> CellRecord:
    """A cell whose test accuracy is that of each epoch, percent."""
    made = cell_record(arm, seed, schedule=schedule, epochs=len(accuracies))
    curve = [
        epoch.model_copy(update={"test_accuracy": value / 100})
        for epoch, value in zip(made.curve, accuracies, strict=True)
    ]
    return made.model_copy(update={"curve": curve})


def curve(first: float, eighth: float, best: float, shift: float = 0.0) -> list[float]:
    """Eight epochs on a line, then the best one."""
    rise = [first + k * (eighth - first) / 7 for k in range(8)]
    return [value + shift for value in [*rise, best]]


def grid(gains: dict[tuple[str, str], float], jitter: Sequence[float]) -> list[CellRecord]:
    """The paper's baseline, and arms that differ from it by `gains` points, with noise by seed."""
    cells = []
    for seed in SEEDS:
        cells.append(cell("none", "always", seed, curve(65.22, 85.10, 88.875)))
        for (arm, schedule), gain in gains.items():
            shift = gain + jitter[seed]
            cells.append(cell(arm, schedule, seed, curve(65.22, 85.10, 88.875, shift)))
    return cells


GAINS = {
    ("bagan-gp", "always"): -0.2,
    ("ddpm", "always"): -2.2,
    ("bagan-gp", "until:10"): -0.6,
    ("ddpm", "until:10"): -2.4,
    ("bagan-gp", "real-every:4"): -0.4,
    ("ddpm", "real-every:4"): -1.0,
}


def verdicts(cells: Sequence[CellRecord], measured: Measured | None = None) -> dict[str, str]:
    return {line.said: line.agrees for line in paper_findings(cells, measured or Measured(), False)}


def test_a_comparison_like_the_papers_agrees_with_it() -> None:
    jitter = (0.02, -0.01, 0.01)
    cells = grid(GAINS, jitter)
    measured = Measured(clusters=3, autoencoder=(0.11, 0.12))
    lines = paper_findings(cells, measured, False)
    assert [line.agrees for line in lines[:4]] == ["yes", "yes", "yes", "yes"]
    assert lines[0].found == "elbow of the mean curve at k = 3"
    assert lines[2].found == "epoch 1 65.22 %, epoch 8 85.10 %, best 88.88 %"
    found = {line.section: line for line in lines}
    assert found["5.4, 6"].said.startswith("BAGAN-GP a little above DDPM")
    # 2.0, 1.8 and 0.6: their mean, the same at every seed
    assert "+1.5 points (3 seeds)" in found["5.4, 6"].found
    assert found["5.4, Figure 6"].agrees == "open"  # +0.3, without variance: not tested
    assert found["6"].found == "no gain is shown"
    assert found["6"].agrees == "yes"


def test_an_interval_is_that_of_the_paired_differences() -> None:
    cells = []
    for seed, (bagan, ddpm) in enumerate(((80.0, 70.0), (82.0, 71.0), (81.0, 72.5))):
        for schedule in ("always", "until:10", "real-every:4"):
            cells.append(cell("bagan-gp", schedule, seed, [50.0, bagan]))
            cells.append(cell("ddpm", schedule, seed, [50.0, ddpm]))
    (line,) = [each for each in paper_findings(cells, Measured(), False) if "BAGAN" in each.said]
    interval = ttest_1samp([10.0, 11.0, 8.5], 0.0).confidence_interval(0.95)
    assert line.found == (
        "BAGAN-GP to DDPM, mean of the schedules: +9.8 points (95 %: "
        f"{interval.low:.1f} to {interval.high:.1f}, 3 seeds)"
    )
    assert line.agrees == "yes"


@pytest.mark.parametrize(
    ("gain", "agrees"), [(-1.0, "yes"), (-8.0, "no"), (-2.4, "open"), (8.0, "no")]
)
def test_arms_differ_little_only_if_that_is_shown(gain: float, agrees: str) -> None:
    jitter = (0.3, -0.2, -0.1)
    found = verdicts(grid({("ddpm", "always"): gain}, jitter))
    assert found["arms differ by at most 2.504 points from the baseline"] == agrees


def test_another_curve_elbow_and_loss_disagree() -> None:
    cells = [cell("none", "always", seed, curve(79.0, 95.0, 96.0)) for seed in SEEDS]
    found = verdicts(cells, Measured(clusters=4, autoencoder=(0.064, 0.07)))
    assert list(found.values()) == ["no", "no", "no"]


def test_what_was_not_measured_is_not_listed() -> None:
    assert paper_findings([cell_record("none", 0)], Measured(), False) == []  # two epochs
    untested = cell_record("none", 0, epochs=8)
    blind = [epoch.model_copy(update={"test_accuracy": None}) for epoch in untested.curve]
    assert verdicts([untested.model_copy(update={"curve": blind})]) == {}
