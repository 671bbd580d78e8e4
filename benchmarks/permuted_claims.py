"""Claim: where arms are exchanged at random among real classifiers, the primary arm is claimed to
beat all free ones in at most 6.5 % of studies.

`python benchmarks/permuted_claims.py [FILE]`: of the probabilities of a finished study (arms,
seeds, images, classes), by default those of the phantom study in docs/results. Each of 1,500
studies permutes the arms within every seed, so that no arm is better than another. Ours: the
intersection-union rule. Theirs: the rule of any contrast with the baseline that is significant at
its own 95 %. Guard: family-wise error of the contrasts with the baseline after correction.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks._report import Guard, report
from rebalance_core.classifiers.metrics import macro_f1_of
from rebalance_core.comparison.statistics import Estimate, adjust, estimate

FILE = Path(__file__).parents[1] / "docs/results/comparison-phantom-step20-equal-updates.npz"
STUDIES = 1500
LIMIT = 0.065


def scores(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Macro-F1 in points of each classifier (arms, seeds), and without each group of images."""
    with np.load(path) as kept:
        labels, groups = kept["labels"].astype(int), kept["groups"].astype(int)
        predictions = kept["probabilities"].argmax(axis=-1)
        classes = kept["probabilities"].shape[-1]
    arms, seeds, _ = predictions.shape
    values = np.zeros((arms, seeds))
    left_out = np.zeros((arms, seeds, groups.max() + 1))
    for arm in range(arms):
        for seed in range(seeds):
            confusions = np.zeros((groups.max() + 1, classes, classes))
            np.add.at(confusions, (groups, labels, predictions[arm, seed]), 1)
            total = confusions.sum(axis=0)
            values[arm, seed] = 100 * float(macro_f1_of(total))
            left_out[arm, seed] = 100 * macro_f1_of(total - confusions)
    return values, left_out


def main(path: Path) -> int:
    values, left_out = scores(path)
    arms, seeds = values.shape
    rng = np.random.default_rng(0)
    columns = np.arange(seeds)
    claims, any_uncorrected, any_corrected = 0, 0, 0
    for _ in range(STUDIES):
        order = np.stack([rng.permutation(arms) for _ in range(seeds)], axis=1)
        shown, without = values[order, columns], left_out[order, columns]

        def compare(
            first: int, second: int, shown: np.ndarray = shown, without: np.ndarray = without
        ) -> Estimate:
            made = estimate(
                (shown[first] - shown[second]).tolist(), without[first] - without[second]
            )
            assert made is not None
            return made

        claims += all(compare(0, other).interval()[0] > 0 for other in range(1, arms))
        p_values = [compare(arm, 0).p for arm in range(1, arms)]
        any_uncorrected += min(p_values) < 0.05
        any_corrected += any(adjust(p, arms - 1) < 0.05 for p in p_values)
    ours, theirs = claims / STUDIES, any_uncorrected / STUDIES
    family = any_corrected / STUDIES
    return report(
        claim=f"share of {STUDIES} studies with exchanged arms in which the primary arm is claimed "
        "to be better",
        ours=round(ours, 4),
        theirs=round(theirs, 4),
        unit="share",
        ratio=round(theirs / max(ours, 1 / STUDIES), 1),
        target=LIMIT,
        target_met=ours <= LIMIT,
        guards={"family-wise error, corrected": Guard(round(family, 4), family <= LIMIT)},
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE))
