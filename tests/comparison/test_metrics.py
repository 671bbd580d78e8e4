"""What a classifier's probabilities are worth, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics

from rebalance_core.comparison.metrics import measure


def test_every_measure_is_what_scikit_learn_says() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    raw = random.random((200, 3)) + np.eye(3)[labels] * 0.5
    p = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    predicted = p.argmax(1)
    told = measure(p, labels)
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    balanced = metrics.balanced_accuracy_score(labels, predicted)
    assert told["balanced_accuracy"] == pytest.approx(balanced)
    f1 = metrics.f1_score(labels, predicted, average="macro")
    assert told["macro_f1"] == pytest.approx(f1)
    auroc = metrics.roc_auc_score(labels, p, multi_class="ovr")
    assert told["auroc"] == pytest.approx(auroc, abs=1e-6)
    recall = metrics.recall_score(labels, predicted, average=None)
    assert told["recall"] == pytest.approx(recall.tolist())
    precision = metrics.precision_score(labels, predicted, average=None)
    assert told["precision"] == pytest.approx(precision.tolist())
    assert told["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert told["predictions"] == predicted.tolist()


def test_calibration_error_by_hand() -> None:
    # Ten images at 0.9 of which seven are right, ten at 0.6 of which six are:
    # (|0.9 - 0.7| + |0.6 - 0.6|) / 2
    p = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 6 + [1] * 4)
    assert measure(p, labels)["calibration_error"] == pytest.approx(0.1, abs=1e-6)


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    told = measure(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
    assert (told["precision"], told["recall"]) == ([0.5, 0.0], [1.0, 0.0])
    assert told["confusion"] == [[1, 0], [1, 0]]
