"""Results of cells as a comparison writes them, with arbitrary values."""

from collections.abc import Sequence

from rebalance_core.comparison.arms import Arm
from rebalance_core.comparison.records import CellRecord
from rebalance_core.system.files import digest

LABELS = [0] * 10 + [1] * 10
PREDICTIONS = [0] * 18 + [1] * 2


def cell_record(
    arm: str,
    seed: int,
    macro_f1: float = 0.5,
    schedule: str = "always",
    epochs: int = 2,
    validation: float = 0.5,
    *,
    labels: Sequence[int] = LABELS,
    predictions: Sequence[int] = PREDICTIONS,
    recall: Sequence[float] = (1.0, 0.2),
    updates: int | None = None,
) -> CellRecord:
    """A finished cell whose test accuracy is 0.5 in the first epoch and 0.6 from then on.

    `updates`: in the whole training.
    """
    has_images = Arm.parse(arm).images is not None
    classes = 1 + max(*labels, *predictions, len(recall) - 1)
    confusion = [[0] * classes for _ in range(classes)]
    for label, predicted in zip(labels, predictions, strict=True):
        confusion[label][predicted] += 1
    test = {
        "accuracy": min(0.5 + seed / 10, 1.0),
        "balanced_accuracy": 0.5,
        "macro_f1": macro_f1,
        "auroc": 0.75,
        "calibration_error": 0.125,
        "precision": [0.5] + [1.0] * (classes - 1),
        "recall": [*recall, *[0.0] * (classes - len(recall))],
        "confusion": confusion,
        "predictions": list(predictions),
    }
    return CellRecord.model_validate(
        {
            "cell": digest([arm, schedule, seed]),
            "arm": arm,
            "amount": "1.0" if has_images else None,
            "schedule": schedule,
            "seed": seed,
            "plan": {"dog": 90} if has_images else {},
            "synthetic": f"pets-{arm}" if has_images else None,
            "best": {
                "epoch": min(1 + seed, epochs),
                "validation_macro_f1": validation,
                "test": test,
            },
            "curve": [
                {
                    "epoch": epoch,
                    "test_accuracy": 0.5 if epoch == 1 else 0.6,
                    "validation_accuracy": 0.5 if epoch % 2 else 0.6,
                    "updates": None if updates is None else updates * epoch // epochs,
                }
                for epoch in range(1, epochs + 1)
            ],
            "seconds": 10.0 + seed,
        }
    )
