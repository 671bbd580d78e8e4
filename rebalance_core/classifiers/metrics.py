"""Metrics of a classifier's probabilities, by scikit-learn and torchmetrics.

Averages over classes are over those that `labels` holds, whatever is predicted, so that they are
the same average for every classifier.
"""

from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from rebalance_core.classifiers.measures import measures

BINS = 15  # of the calibration error, Guo et al. 2017 (arXiv 1706.04599)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Every measure of the catalogue, of probabilities float (n, K) for labels int (n,), n > 0;
    and precision and recall of each class (None without an image), confusion and predictions."""
    precision, recall, _, support = _class_scores(probabilities, labels)
    present = support > 0
    predictions = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    return {
        **{key: each.value(probabilities, labels) for key, each in measures().items()},
        "precision": [float(v) if p else None for v, p in zip(precision, present, strict=True)],
        "recall": [float(v) if p else None for v, p in zip(recall, present, strict=True)],
        "confusion": confusion_matrix(labels, predictions, labels=classes).tolist(),
        "predictions": predictions.tolist(),
    }


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean recall over the classes that are present."""
    _, recall, _, support = _class_scores(probabilities, labels)
    return float(recall[support > 0].mean())


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean F1 over the classes that are present."""
    _, _, f1, support = _class_scores(probabilities, labels)
    return float(f1[support > 0].mean())


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over the classes that are present of AUROC against the rest; None for a single one."""
    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error over `BINS` bins of equal width."""
    error = multiclass_calibration_error(
        torch.as_tensor(probabilities, dtype=torch.float32),
        torch.as_tensor(labels),
        probabilities.shape[1],
        n_bins=BINS,
    )
    return float(error)


def _class_scores(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall, F1 and support of each class, each (K,); a class that is never predicted
    has precision 0."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels,
        probabilities.argmax(axis=1),
        labels=np.arange(probabilities.shape[1]),
        zero_division=0,
    )
    return precision, recall, f1, support
