"""Metrics of a classifier's probabilities, by scikit-learn and torchmetrics."""

from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15  # of the calibration error, Guo et al. 2017 (arXiv 1706.04599)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Metrics, from 0 to 1, of probabilities float (n, K) for labels int (n,), n > 0.

    Averages over classes are over those that `labels` holds, whatever is predicted, so that they
    are the same average for every classifier; precision and recall of the others are None. AUROC
    is the mean of one class against the rest (None for a single class), the calibration error the
    expected one. A class that is never predicted has precision 0.
    """
    classes = np.arange(probabilities.shape[1])
    predictions = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=0
    )
    present = support > 0
    return {
        "accuracy": float((predictions == labels).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "auroc": _mean_auroc(probabilities, labels, classes[present]),
        "calibration_error": float(
            multiclass_calibration_error(
                torch.as_tensor(probabilities, dtype=torch.float32),
                torch.as_tensor(labels),
                len(classes),
                n_bins=BINS,
            )
        ),
        "precision": [float(v) if p else None for v, p in zip(precision, present, strict=True)],
        "recall": [float(v) if p else None for v, p in zip(recall, present, strict=True)],
        "confusion": confusion_matrix(labels, predictions, labels=classes).tolist(),
        "predictions": predictions.tolist(),
    }


def _mean_auroc(probabilities: np.ndarray, labels: np.ndarray, present: np.ndarray) -> float | None:
    """Mean over the classes that are present of AUROC against the rest; None for a single one."""
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))
