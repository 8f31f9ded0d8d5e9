"""Calibration errors by bins: edges, weights, and the five bins of THUNDER against a count by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eva_core.classification import metrics
from eva_core.classification.calibration_bins import BINS, calibration_error, calibration_gaps, confidence_bins


def drawn(n: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.4), n).astype(np.float32), rng.integers(0, classes, n)


def by_hand(scores: NDArray[np.floating], targets: NDArray[np.integer], bins: int) -> float:
    """Each bin in turn, without its lower edge and with its upper one, as MICS-Lab/thunder @ 1c5939f defines it."""
    confidence, right, error = scores.max(1), scores.argmax(1) == targets, 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += abs(confidence[inside].mean() - right[inside].mean()) * inside.mean()
    return error


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_five_bins_are_those_of_thunder(classes: int):
    scores, targets = drawn(400, classes, classes)
    scores[:60] = np.eye(classes, dtype=np.float32)[targets[:60]]  # of confidence 1, among them wrong ones
    targets[:20] = (targets[:20] + 1) % classes
    (error,) = calibration_error("ece5", scores, targets, np.ones((1, 400)))
    assert error == pytest.approx(by_hand(scores, targets, 5), abs=1e-6)


def test_an_edge_is_above_for_torchmetrics_and_below_for_thunder():
    scores = np.array([[0.6, 0.4], [1.0, 0.0], [0.5, 0.5]], np.float32)
    assert confidence_bins(scores, "ece5")[1].tolist() == [2, 4, 2]
    assert confidence_bins(scores)[1].tolist() == [9, 15, 7]
    assert BINS == {"ece": 15, "ece5": 5}


@pytest.mark.parametrize("metric", ["ece", "ece5"])
def test_gaps_are_what_the_calibration_error_sums(metric: str):
    scores, targets = drawn(50, 3, 9)
    weights = np.random.default_rng(0).integers(0, 3, (4, 50))
    values = metrics.weighted(scores, targets, ["a", "b", "c"], weights, [metric])[metric]
    gaps = calibration_gaps(metric, scores, targets, weights)
    np.testing.assert_allclose(np.abs(gaps).sum(axis=1), values, rtol=1e-12)
    np.testing.assert_allclose(calibration_error(metric, scores, targets, weights), values, rtol=1e-12)


@pytest.mark.parametrize("metric", ["ece", "ece5"])
def test_a_weight_counts_as_that_many_images(metric: str):
    scores, targets = drawn(20, 3, 1)
    weights = np.random.default_rng(1).integers(0, 4, 20)
    repeated = np.repeat(np.arange(20), weights)
    (expected,) = calibration_error(metric, scores[repeated], targets[repeated], np.ones((1, len(repeated))))
    assert calibration_error(metric, scores, targets, weights[None])[0] == pytest.approx(expected)
