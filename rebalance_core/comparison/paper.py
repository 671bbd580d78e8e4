"""What the paper found, and whether a comparison at its settings finds the same.

Accuracies are the paper's kind: the best of any epoch on the test split, chosen on that split, so
they are descriptive. Intervals are over seeds alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from rebalance_core.comparison.arms import BASELINE
from rebalance_core.comparison.config import PAPER_ACCURACY
from rebalance_core.comparison.records import CellRecord, PaperFinding
from rebalance_core.comparison.statistics import Estimate, estimate

CURVE = {1: 65.22, 8: 85.10}  # {epoch: accuracy of the baseline, percent}, section 5.4
BEST = PAPER_ACCURACY[BASELINE, None, "always"]
LARGEST = 2.504  # points between arms (5.4, always)
CLUSTERS = 3  # (5.2)
AUTOENCODER = 0.1221, 0.1188  # training and validation loss (5.1)
TOLERANCE = 3.0  # points within which a curve agrees
SIMILAR = 0.25  # share within which a loss agrees
SCHEDULES = ("always", "until:10", "real-every:4")
Verdict = Literal["yes", "no", "open"]


class Measured(NamedTuple):
    """What the steps before the classifiers measured; None where it is not known."""

    clusters: int | None = None  # the elbow
    autoencoder: tuple[float, float] | None = None  # losses in training and validation


def paper_findings(
    cells: Sequence[CellRecord], measured: Measured, is_gain_proven: bool
) -> list[PaperFinding]:
    """One line per finding of sections 5 and 6 that these cells can speak to.

    Every epoch has to be tested; cells without are left out.
    """
    tested = [c for c in cells if all(e.test_accuracy is not None for e in c.curve)]
    found = [_clusters(measured.clusters), _autoencoder(measured.autoencoder)]
    best = _by_seed(tested, lambda cell: max(_curve(cell)))
    early = _by_seed(tested, lambda cell: float(np.mean(np.abs(np.diff(_curve(cell)[:8])))))
    found.append(_baseline([c for c in tested if c.arm == BASELINE]))
    found.append(_similar(best))
    found.append(
        _difference(
            "5.4, 6",
            "BAGAN-GP a little above DDPM (+0.8 to +2.9 points)",
            _mean([_paired(best, ("bagan-gp", s), ("ddpm", s)) for s in SCHEDULES]),
            "BAGAN-GP to DDPM, mean of the schedules",
        )
    )
    found.append(
        _difference(
            "5.4",
            "larger swings with DDPM images before the eighth epoch",
            _paired(early, ("ddpm", "always"), (BASELINE, "always")),
            "swing of DDPM to that of the baseline",
        )
    )
    found.append(
        _difference(
            "5.4, Figure 6",
            "a slight loss when generated images are taken away after epoch 10",
            _mean(
                [_paired(best, (arm, "always"), (arm, "until:10")) for arm in ("bagan-gp", "ddpm")]
            ),
            "always to until epoch 10, mean of the generators",
        )
    )
    found.append(
        _difference(
            "5.4, Figure 7",
            "with every fourth epoch real only, DDPM comes closer to the others (+0.8 points)",
            _paired(best, ("ddpm", "real-every:4"), ("ddpm", "always")),
            "DDPM, every fourth epoch real only to always",
        )
    )
    if any(cell.synthetic for cell in cells):
        found.append(
            PaperFinding(
                section="6",
                said="generated images are not recommended: no gain",
                found="a gain is shown" if is_gain_proven else "no gain is shown",
                agrees="no" if is_gain_proven else "yes",
            )
        )
    return [line for line in found if line is not None]


Values = Mapping[tuple[str, str], Mapping[int, float]]  # {(arm, schedule): {seed: points}}


def _curve(cell: CellRecord) -> list[float]:
    """Test accuracy of each epoch, percent."""
    return [100 * float(epoch.test_accuracy or 0.0) for epoch in cell.curve]


def _by_seed(cells: Sequence[CellRecord], value: Callable[[CellRecord], float]) -> Values:
    made: dict[tuple[str, str], dict[int, float]] = {}
    for cell in cells:
        made.setdefault((cell.arm, str(cell.schedule)), {})[cell.seed] = value(cell)
    return made


def _paired(
    values: Values, first: tuple[str, str], second: tuple[str, str]
) -> dict[int, float] | None:
    """{seed: difference}; None unless both were trained."""
    one, other = values.get(first), values.get(second)
    if not one or not other:
        return None
    return {seed: one[seed] - other[seed] for seed in one if seed in other}


def _mean(parts: Sequence[Mapping[int, float] | None]) -> dict[int, float] | None:
    """The mean of several differences at the seeds that all have; None if one is missing."""
    known = [part for part in parts if part]
    if len(known) < len(parts):
        return None
    seeds = set.intersection(*map(set, known))
    return {seed: float(np.mean([part[seed] for part in known])) for seed in sorted(seeds)}


def _text(values: Mapping[int, float]) -> tuple[str, Estimate | None]:
    made = estimate(list(values.values()))
    text = f"{np.mean(list(values.values())):+.1f} points"
    if made is None or not made.is_testable:
        return f"{text} ({len(values)} seeds)", None
    low, high = made.interval()
    return f"{text} (95 %: {low:.1f} to {high:.1f}, {len(values)} seeds)", made


def _difference(
    section: str, said: str, values: Mapping[int, float] | None, what: str
) -> PaperFinding | None:
    """A difference that the paper found to be above zero."""
    if not values:
        return None
    text, made = _text(values)
    agrees: Verdict = "open"
    if made is not None:
        low, high = made.interval()
        agrees = "yes" if low > 0 else "no" if high < 0 else "open"
    return PaperFinding(section=section, said=said, found=f"{what}: {text}", agrees=agrees)


def _clusters(found: int | None) -> PaperFinding | None:
    if found is None:
        return None
    return PaperFinding(
        section="5.2",
        said=f"k = {CLUSTERS} clusters by the elbow",
        found=f"elbow of the mean curve at k = {found}",
        agrees="yes" if found == CLUSTERS else "no",
    )


def _autoencoder(losses: tuple[float, float] | None) -> PaperFinding | None:
    if losses is None:
        return None
    ratios = [abs(loss / said - 1) for loss, said in zip(losses, AUTOENCODER, strict=True)]
    return PaperFinding(
        section="5.1",
        said="autoencoder's loss {} in training, {} in validation".format(*AUTOENCODER),
        found=f"{losses[0]:.4f} in training, {losses[1]:.4f} in validation",
        agrees="yes" if max(ratios) <= SIMILAR else "no",
    )


def _baseline(cells: Sequence[CellRecord]) -> PaperFinding | None:
    """The baseline's curve at the epochs that the paper names."""
    curves = [_curve(cell) for cell in cells if len(cell.curve) >= max(CURVE)]
    if not curves:
        return None
    said = {**{f"epoch {epoch}": value for epoch, value in CURVE.items()}, "best": BEST}
    means = {f"epoch {e}": float(np.mean([curve[e - 1] for curve in curves])) for e in CURVE}
    means["best"] = float(np.mean([max(curve) for curve in curves]))
    close = all(abs(means[name] - value) <= TOLERANCE for name, value in said.items())
    return PaperFinding(
        section="5.4, Figure 2",
        said=", ".join(f"{name} {value:.2f} %" for name, value in said.items()),
        found=", ".join(f"{name} {value:.2f} %" for name, value in means.items()),
        agrees="yes" if close else "no",
    )


def _similar(best: Values) -> PaperFinding | None:
    """Whether all arms are equivalent to the baseline within the largest difference reported."""
    arms = [key for key in best if key[0] != BASELINE]
    differences = {key: _paired(best, key, (BASELINE, "always")) for key in arms}
    known = {key: values for key, values in differences.items() if values}
    if not known:
        return None
    largest = max(known, key=lambda key: abs(np.mean(list(known[key].values()))))
    made = [estimate(list(values.values())) for values in known.values()]
    agrees: Verdict = "open"
    if all(m is not None and m.is_testable and m.equivalence_p(LARGEST) < 0.05 for m in made):
        agrees = "yes"
    elif any(_is_beyond(m) for m in made):
        agrees = "no"
    return PaperFinding(
        section="5.4, 6",
        said=f"arms differ by at most {LARGEST} points from the baseline",
        found=f"largest: {', '.join(largest)}, {_text(known[largest])[0]}",
        agrees=agrees,
    )


def _is_beyond(made: Estimate | None) -> bool:
    """Whether a difference is significantly larger than the largest that the paper reports."""
    if made is None or not made.is_testable:
        return False
    low, high = made.interval()
    return low > LARGEST or high < -LARGEST
