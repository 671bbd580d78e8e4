"""Measures of a classifier's probabilities, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics

from rebalance_core.classifiers.metrics import measure


def test_every_measure_equals_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    raw = random.random((200, 3)) + np.eye(3)[labels] * 0.5
    p = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
    predicted = p.argmax(1)
    result = measure(p, labels)
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    balanced = metrics.balanced_accuracy_score(labels, predicted)
    assert result["balanced_accuracy"] == pytest.approx(balanced)
    f1 = metrics.f1_score(labels, predicted, average="macro")
    assert result["macro_f1"] == pytest.approx(f1)
    auroc = metrics.roc_auc_score(labels, p, multi_class="ovr")
    assert result["auroc"] == pytest.approx(auroc, abs=1e-6)
    recall = metrics.recall_score(labels, predicted, average=None)
    assert result["recall"] == pytest.approx(recall.tolist())
    precision = metrics.precision_score(labels, predicted, average=None)
    assert result["precision"] == pytest.approx(precision.tolist())
    assert result["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert result["predictions"] == predicted.tolist()


def test_calibration_error_by_hand() -> None:
    # Ten images at 0.9 of which seven are right, ten at 0.6 of which six are:
    # (|0.9 - 0.7| + |0.6 - 0.6|) / 2
    p = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 6 + [1] * 4)
    assert measure(p, labels)["calibration_error"] == pytest.approx(0.1, abs=1e-6)


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    result = measure(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
    assert (result["precision"], result["recall"]) == ([0.5, 0.0], [1.0, 0.0])
    assert result["confusion"] == [[1, 0], [1, 0]]


def test_averages_are_over_the_classes_that_are_there() -> None:
    """Class 2 has no image: predicting it or not, an average is over classes 0 and 1."""
    labels = np.array([0, 0, 1, 1])
    never = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    result = measure(never, labels)
    # class 0: precision 1, recall 1/2; class 1: precision 2/3, recall 1
    assert result["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert result["balanced_accuracy"] == pytest.approx(0.75)
    assert (result["precision"], result["recall"]) == (
        [1.0, pytest.approx(2 / 3), None],
        [0.5, 1.0, None],
    )
    # 0.8 and 0.2 against 0.1 and 0.3: three of four pairs are in order; 0.8, 0.6 against 0.1, 0.7
    assert result["auroc"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    sometimes = never.copy()
    sometimes[1] = [0.2, 0.1, 0.7]  # now predicts class 2 for an image of class 0
    result = measure(sometimes, labels)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["balanced_accuracy"] == pytest.approx(0.75)
    assert result["recall"] == [0.5, 1.0, None]
    assert result["confusion"] == [[1, 0, 1], [0, 2, 0], [0, 0, 0]]


def test_the_same_average_whatever_an_arm_predicts_by_scikit_learn() -> None:
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 3], 120)
    for bias in (0.0, 1.0):  # without and with predictions of the absent class
        raw = random.random((120, 4)) + np.eye(4)[labels] * 0.3
        raw[:, 2] = bias * raw[:, 2]
        p = raw / raw.sum(axis=1, keepdims=True)
        result = measure(p, labels)
        f1 = metrics.f1_score(labels, p.argmax(1), labels=[0, 1, 3], average="macro")
        assert result["macro_f1"] == pytest.approx(f1)
        recall = metrics.recall_score(labels, p.argmax(1), labels=[0, 1, 3], average="macro")
        assert result["balanced_accuracy"] == pytest.approx(recall)
        auroc = [metrics.roc_auc_score(labels == c, p[:, c]) for c in (0, 1, 3)]
        assert result["auroc"] == pytest.approx(np.mean(auroc))


def test_a_single_class_has_no_auroc_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    result = measure(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    assert result["auroc"] is None
    assert (result["macro_f1"], result["accuracy"]) == (pytest.approx(2 / 3), 0.5)
    assert [str(w.message) for w in recwarn] == []
