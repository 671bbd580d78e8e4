"""Metrics of a classifier's probabilities, by scikit-learn and torchmetrics.

Averages over classes are over those that `labels` holds, whatever is predicted, so that they are
the same average for every classifier.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from rebalance_core.classifiers.measures import measures

SPECIFICITY = 0.95
BINS = 15  # of the calibration error, Guo et al. 2017 (arXiv 1706.04599)


def measure(
    probabilities: np.ndarray, labels: np.ndarray, rare: Sequence[int] = ()
) -> dict[str, Any]:
    """Every measure of the catalogue, of probabilities float (n, K) for labels int (n,), n > 0;
    and precision and recall of each class (None without an image), confusion and predictions.

    `rare`: the minority classes.
    """
    precision, recall, _, support = _class_scores(probabilities, labels)
    present = support > 0
    predictions = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    return {
        **{key: each.value(probabilities, labels, rare) for key, each in measures().items()},
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


def accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """Accuracy of confusion matrices (…, K, K), one row per true class: (…,)."""
    correct = np.trace(confusions, axis1=-2, axis2=-1)
    return np.asarray(correct / np.maximum(confusions.sum(axis=(-2, -1)), 1))


def balanced_accuracy_of(confusions: np.ndarray) -> np.ndarray:
    """Balanced accuracy of confusion matrices (…, K, K): (…,)."""
    return _mean_of_present(recall_of(confusions), confusions)


def macro_f1_of(confusions: np.ndarray) -> np.ndarray:
    """Macro-F1 of confusion matrices (…, K, K): (…,)."""
    return _mean_of_present(f1_of(confusions), confusions)


def recall_of(confusions: np.ndarray) -> np.ndarray:
    """Recall of each class (…, K), 0 without an image of it."""
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    return np.asarray(correct / np.maximum(confusions.sum(axis=-1), 1))


def precision_of(confusions: np.ndarray) -> np.ndarray:
    """Precision of each class (…, K), 0 where it is never predicted."""
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    return np.asarray(correct / np.maximum(confusions.sum(axis=-2), 1))


def f1_of(confusions: np.ndarray) -> np.ndarray:
    """F1 of each class (…, K), 0 where it is neither present nor predicted."""
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    total = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    return np.asarray(2 * correct / np.maximum(total, 1))


def _mean_of_present(scores: np.ndarray, confusions: np.ndarray) -> np.ndarray:
    """The mean of class scores (…, K) over the classes with an image."""
    present = confusions.sum(axis=-1) > 0
    return np.asarray((scores * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over the classes that are present of AUROC against the rest; None for a single one."""
    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))


def auprc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over the classes that are present of average precision against the rest.

    None for a single class. It rises with the prevalence of a class in the test images.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(
        np.mean([average_precision_score(labels == c, probabilities[:, c]) for c in present])
    )


def recall_at_specificity(
    probabilities: np.ndarray, labels: np.ndarray, rare: Sequence[int] = ()
) -> float | None:
    """Mean recall over the `rare` classes that are present, each at its own threshold.

    The threshold of a class is exceeded by at most 1 − `SPECIFICITY` of the other classes' images;
    it is read from the same images. Without `rare`, over all classes. None where it is undefined.
    """
    present = np.unique(labels)
    chosen = [label for label in present if label in rare or not rare]
    if len(present) < 2 or not chosen:
        return None
    recalls = []
    for label in chosen:
        scores, is_class = probabilities[:, label], labels == label
        others = np.sort(scores[~is_class])
        allowed = int(np.floor(len(others) * (1 - SPECIFICITY) + 1e-9))  # false positives
        threshold = others[len(others) - 1 - allowed]
        recalls.append(float((scores[is_class] > threshold).mean()))
    return float(np.mean(recalls))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance to the one-hot label, 0 to 2 (Brier 1950)."""
    one_hot = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - one_hot) ** 2).sum(axis=1).mean())


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the label, in nats; probabilities are at least 1e-7."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-7)).mean())


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
