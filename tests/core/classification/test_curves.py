"""Curves against scikit-learn, and against the metrics that results hold."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from eva_core.classification.curves import confusions, precision_recall, reliability, roc
from eva_core.classification.metrics import evaluate


def made(runs: int = 3, n: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, n)
    logits = rng.standard_normal((runs, n, classes)) + 1.2 * np.eye(classes)[targets]
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return scores.astype(np.float32), targets


def test_confusions_are_those_of_scikit_learn():
    scores, targets = made()
    expected = np.mean([confusion_matrix(targets, run.argmax(1)) for run in scores], axis=0)
    assert confusions(scores, targets) == pytest.approx(expected)


def test_the_bins_give_the_calibration_error_of_the_result():
    scores, targets = made(runs=1)
    found = reliability(scores, targets)
    ece = evaluate(torch.from_numpy(scores[0]), torch.from_numpy(targets), list("abcd"))["ece"]
    assert sum(abs(a - c) * n for c, a, n in found) == pytest.approx(ece, abs=1e-6)
    assert sum(n for _, _, n in found) == pytest.approx(1)


def test_a_roc_goes_where_scikit_learn_goes():
    scores, targets = made()
    ranked = scores[..., 1].round(1)  # with ties
    points = roc(ranked, targets == 1)
    grid = np.linspace(0, 1, 101)
    every = []
    for run in ranked:
        x, y, _ = roc_curve(targets == 1, run, drop_intermediate=False)
        last = np.append(np.flatnonzero(np.diff(x)), len(x) - 1)
        every.append(np.interp(grid, x[last], y[last]))
    x, y = np.array(points).T
    assert np.interp(grid, x, y) == pytest.approx(np.mean(every, axis=0), abs=1e-6)


def test_precision_goes_where_scikit_learn_goes():
    scores, targets = made()
    ranked = scores[..., 1].round(1)  # with ties
    x, y = np.array(precision_recall(ranked, targets == 1)).T
    grid = np.linspace(0, 1, 101)[1:]
    every = []
    for run in ranked:
        precision, recall, _ = precision_recall_curve(targets == 1, run)
        every.append([precision[np.flatnonzero(recall >= r - 1e-9)[-1]] for r in grid])
    assert np.interp(grid, x, y) == pytest.approx(np.mean(every, axis=0), abs=1e-6)


def test_one_class_alone_has_no_roc_and_no_precision():
    assert precision_recall(np.array([[0.1, 0.2]]), np.array([True, True])) == []
    assert roc(np.array([[0.1, 0.2]]), np.array([True, True])) == []
    assert roc(np.array([[0.1, 0.2]]), np.array([False, False])) == []
