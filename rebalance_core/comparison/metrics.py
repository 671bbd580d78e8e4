"""What a classifier's probabilities are worth, by torchmetrics."""

import warnings
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

BINS = 15  # of the calibration error, Guo et al. 2017 (arXiv 1706.04599)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Float (n, K) and int (n,) → everything that is told of a part of the data; 0 to 1.

    AUROC is the mean over classes, one against the rest; the calibration error the expected one.
    """
    p = torch.as_tensor(probabilities, dtype=torch.float32)
    y = torch.as_tensor(labels)
    k = p.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class that is not in this part
        return {
            "accuracy": float(multiclass_accuracy(p, y, k, average="micro")),
            "balanced_accuracy": float(multiclass_recall(p, y, k, average="macro")),
            "macro_f1": float(multiclass_f1_score(p, y, k, average="macro")),
            "auroc": float(multiclass_auroc(p, y, k, average="macro")),
            "calibration_error": float(multiclass_calibration_error(p, y, k, n_bins=BINS)),
            "precision": multiclass_precision(p, y, k, average="none").tolist(),
            "recall": multiclass_recall(p, y, k, average="none").tolist(),
            "confusion": multiclass_confusion_matrix(p, y, k).tolist(),
            "predictions": p.argmax(dim=1).tolist(),
        }
