"""What a measure of a classifier declares of itself, and the list of all measures.

A spec module imports nothing heavy: tables, pages and plots read it without scikit-learn or torch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from rebalance_core.errors import UserError
from rebalance_core.runs.spec import load_named

if TYPE_CHECKING:
    import numpy as np

PRIMARY = "macro_f1"  # the measure that chooses epochs on validation and whose gains are tested
RESERVED = (
    "precision",
    "recall",
    "confusion",
    "predictions",
    "loss",
)  # other keys of a test record


@dataclass(frozen=True)
class Measure:
    """Everything that training, records, tables, plots and pages need of one measure.

    Its function is named as `module:function` and imported on first use.
    """

    key: str  # in records and metrics: `macro_f1`
    title: str  # in sentences, plots and tables: `macro-F1`
    compute: str  # (probabilities float (n, K), labels int (n,)) -> float, or None where undefined
    # confusion matrices (…, K, K) -> (…,), for measures of predictions alone: much faster to repeat
    of_confusion: str = ""
    of_rare: bool = False  # `compute` takes the class ids to average over: the minority classes
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)  # of its values
    scale: float = 100.0  # a shown value is the value times this; 100: percent
    decimals: int = 2  # of a shown value
    curves: tuple[Literal["validation", "test"], ...] = ("validation",)  # parts with a plot

    @property
    def heading(self) -> str:
        """The title as the heading of a column: `Macro-F1`."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def direction(self) -> str:
        return "Higher is better." if self.higher_is_better else "Lower is better."

    def value(
        self, probabilities: "np.ndarray", labels: "np.ndarray", rare: Sequence[int] = ()
    ) -> float | None:
        """The measure of probabilities float (n, K) for labels int (n,); None where undefined.

        `rare` are the minority classes; without any, all classes count.
        """
        arguments = [tuple(rare)] if self.of_rare else []
        value: float | None = load_named(self.compute)(probabilities, labels, *arguments)
        return None if value is None or not math.isfinite(value) else float(value)

    def shown(self, value: float | None) -> float | None:
        """A value in the unit in which it is shown."""
        return None if value is None else self.scale * value

    def format(self, value: float | None) -> str:
        """A value as text in the unit in which it is shown; a dash where it is unknown."""
        return "–" if value is None else f"{self.scale * value:.{self.decimals}f}"


BRIER = Measure(
    "brier",
    "Brier score",
    "rebalance_core.classifiers.metrics:brier",
    higher_is_better=False,
    bounds=(0.0, 2.0),
)
NLL = Measure(
    "nll",
    "negative log-likelihood",
    "rebalance_core.classifiers.metrics:nll",
    higher_is_better=False,
    bounds=(0.0, 1000.0),
    scale=1.0,
    decimals=3,
)
AUPRC = Measure("auprc", "AUPRC", "rebalance_core.classifiers.metrics:auprc")
RARE_RECALL = Measure(
    "rare_recall",
    "rare-class recall at 95 % specificity",
    "rebalance_core.classifiers.metrics:recall_at_specificity",
    of_rare=True,
)
MACRO_F1 = Measure(
    PRIMARY,
    "macro-F1",
    "rebalance_core.classifiers.metrics:macro_f1",
    "rebalance_core.classifiers.metrics:macro_f1_of",
    curves=("validation", "test"),
)
ACCURACY = Measure(
    "accuracy",
    "accuracy",
    "rebalance_core.classifiers.metrics:accuracy",
    "rebalance_core.classifiers.metrics:accuracy_of",
    curves=("validation", "test"),
)
BALANCED_ACCURACY = Measure(
    "balanced_accuracy",
    "balanced accuracy",
    "rebalance_core.classifiers.metrics:balanced_accuracy",
    "rebalance_core.classifiers.metrics:balanced_accuracy_of",
)
AUROC = Measure("auroc", "AUROC", "rebalance_core.classifiers.metrics:auroc")
CALIBRATION_ERROR = Measure(
    "calibration_error",
    "calibration error",
    "rebalance_core.classifiers.metrics:calibration_error",
    higher_is_better=False,
)


def measures() -> Mapping[str, Measure]:
    """{key: measure}, in the order in which tables list them."""
    from rebalance_core import catalogue

    return _load(catalogue.MEASURES)


def find_measure(key: str) -> Measure:
    """Raises UserError for a key that no measure has."""
    found = measures()
    if key not in found:
        raise UserError(f"There is no measure {key!r}; choose one of {', '.join(found)}.")
    return found[key]


def primary_measure() -> Measure:
    return find_measure(PRIMARY)


def curve_titles() -> dict[str, str]:
    """{metric of an epoch: title of its plot}: the measures on validation and test, the loss."""
    found = measures().values()
    titles = {
        f"{part}_{measure.key}": f"{measure.title}, {part}"
        for part in ("validation", "test")
        for measure in found
        if part in measure.curves
    }
    return {**titles, "train_loss": "loss, training"}


@cache
def _load(names: tuple[str, ...]) -> Mapping[str, Measure]:
    found: dict[str, Measure] = {}
    for name in names:
        measure: Measure = load_named(name)
        if measure.key in found:
            raise ValueError(f"there are two measures {measure.key}.")
        check_measure(measure)
        found[measure.key] = measure
    return found


def check_measure(measure: Measure) -> None:
    """Raises ValueError naming what the measure lacks."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", measure.key) or measure.key in RESERVED:
        raise ValueError(f"the key {measure.key!r} of a measure is not a free lower-case name.")
    for each in ("title", "compute"):
        if not getattr(measure, each).strip():
            raise ValueError(f"the measure {measure.key} lacks its {each}.")
    low, high = measure.bounds
    if not low < high:
        raise ValueError(f"the bounds of the measure {measure.key} are not in order.")
    if measure.scale <= 0 or measure.decimals < 0:
        raise ValueError(f"the scale or the decimals of the measure {measure.key} are negative.")
    if measure.key == PRIMARY and not measure.higher_is_better:
        raise ValueError(f"of the primary measure {measure.key}, higher has to be better.")
