"""Bins of the calibration error, which asks of each how far the confidence in the predicted class is off, on average.

An edge of `ece` belongs to the bin above it and a confidence of 1 has a bin to itself, as torchmetrics has it; an edge
of `ece5` belongs to the bin below it, as THUNDER has it (MICS-Lab/thunder @ 1c5939f).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from eva_core.classification.metric_names import ECE5

BINS = {"ece": 15, ECE5: 5}
"""Number of equal bins from 0 to 1, by metric."""


def confidence_bins(scores: NDArray[np.floating], metric: str = "ece") -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The greatest probability of each sample, and the bin of a calibration error that it falls into, (N,) both."""
    confidences = scores.max(axis=1, initial=0).astype(np.float32)
    # torchmetrics' own edges, so that no sample falls into another bin
    edges = torch.linspace(0, 1, BINS[metric] + 1)
    bins = torch.bucketize(torch.from_numpy(confidences), edges, right=metric != ECE5) - 1
    return confidences, bins.clamp(min=0).numpy()


def gap_columns(scores: NDArray[np.floating], targets: NDArray[np.integer], metric: str = "ece") -> NDArray[np.float64]:
    """Hit less confidence of each sample in the column of its bin, (N, bins + 1): |weights @ it| adds up to the error.

    Args:
        scores: Class probabilities, (N, C).
        targets: Class numbers, (N,).
        metric: A calibration error.
    """
    confidences, bins = confidence_bins(scores, metric)
    hits = scores.argmax(axis=1) == targets
    columns: NDArray[np.float64] = np.eye(BINS[metric] + 1)[bins] * (hits - confidences.astype(np.float64))[:, None]
    return columns


def calibration_gaps(
    metric: str, scores: NDArray[np.floating], targets: NDArray[np.integer], weights: NDArray[np.number]
) -> NDArray[np.float64]:
    """What a calibration error sums the absolute values of, for `intervals.interval`.

    Args:
        metric: `ece` or `ece5`.
        scores: Class probabilities, (N, C).
        targets: Class numbers, (N,).
        weights: Non-negative sample weights, (draws, N).

    Returns:
        Gap of each bin, (draws, bins + 1); NaN where nothing has weight.
    """
    with np.errstate(invalid="ignore"):
        gaps: NDArray[np.float64] = (weights @ gap_columns(scores, targets, metric)) / weights.sum(
            axis=1, keepdims=True
        )
    return gaps


def calibration_error(
    metric: str, scores: NDArray[np.floating], targets: NDArray[np.integer], weights: NDArray[np.number]
) -> NDArray[np.float64]:
    """A calibration error under weights of the samples, (draws,); arguments as of `calibration_gaps`.

    Examples:
        >>> scores = np.array([[0.9, 0.1], [0.7, 0.3]])
        >>> calibration_error("ece5", scores, np.array([0, 1]), np.ones((1, 2))).round(3).tolist()
        [0.4]
    """
    error: NDArray[np.float64] = np.abs(calibration_gaps(metric, scores, targets, weights)).sum(axis=1)
    return error
