"""What a page draws of a classifier besides numbers: confusions, reliability, ROC, precision and recall."""

import numpy as np
from numpy.typing import NDArray

from eva_core.classification.calibration_bins import confidence_bins

_GRID = 101
"""Places of false positives, or of recall, at which runs are averaged."""


def confusions(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """How many images of a class (row) are given to a class (column), mean over runs.

    Args:
        scores: Class probabilities, (R, N, C).
        targets: Class numbers, (N,).
    Returns:
        (C, C).

    Examples:
        >>> confusions(np.array([[[0.9, 0.1], [0.6, 0.4]]]), np.array([0, 1])).tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    runs, _, classes = scores.shape
    cells = targets * classes + scores.argmax(-1)
    counts: NDArray[np.float64] = np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes) / runs
    return counts


def reliability(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> list[tuple[float, float, float]]:
    """Confidence, accuracy and share of the images of each bin that has any, over all runs.

    The bins are those of the calibration error: its terms are |accuracy - confidence| * share.

    Args:
        scores: Class probabilities, (R, N, C).
        targets: Class numbers, (N,).
    """
    flat = scores.reshape(-1, scores.shape[-1])
    confidences, bins = confidence_bins(flat)
    right = flat.argmax(-1) == np.tile(targets, len(scores))
    found = []
    for number in np.unique(bins):
        inside = bins == number
        found.append((float(confidences[inside].mean()), float(right[inside].mean()), float(inside.mean())))
    return found


def roc(ranking: NDArray[np.floating], positive: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Share of positives found by share of negatives taken for one, mean over runs; empty where a side has none.

    Args:
        ranking: What ranks the images, (R, N).
        positive: Whether an image is of the class, (N,).

    Examples:
        >>> roc(np.array([[0.1, 0.9]]), np.array([False, True]))[0]
        (0.0, 1.0)
    """
    if positive.all() or not positive.any():
        return []
    grid = np.linspace(0, 1, _GRID)
    return _line(grid, np.mean([_steps(run, positive, grid) for run in ranking], axis=0))


def precision_recall(ranking: NDArray[np.floating], positive: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Precision by recall, mean over runs; empty where a side has none.

    Between two thresholds it is that of the lower one, by which the recall is reached: a line between them would
    promise too much.

    Args:
        ranking: What ranks the images, (R, N).
        positive: Whether an image is of the class, (N,).

    Examples:
        >>> precision_recall(np.array([[0.1, 0.9]]), np.array([False, True]))
        [(0.0, 1.0), (1.0, 1.0)]
    """
    if positive.all() or not positive.any():
        return []
    grid, values = np.linspace(0, 1, _GRID), []
    for run in ranking:
        ends, hits = _thresholds(run, positive)
        reached = np.searchsorted(hits, grid * hits[-1] - 1e-9)
        values.append((hits / (ends + 1))[reached])
    return _line(grid, np.mean(values, axis=0))


def _thresholds(
    ranking: NDArray[np.floating], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number of the last sample above each threshold, ties being above together, and positives up to it."""
    order = np.argsort(-ranking, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(ranking[order])), len(order) - 1)
    return ends, np.cumsum(positive[order])[ends]


def _line(grid: NDArray[np.float64], values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Points of a line without those that a line through their neighbours meets."""
    points = [(float(x), float(y)) for x, y in zip(grid, values, strict=True)]
    return [point for n, point in enumerate(points) if n in (0, len(points) - 1) or _turns(points, n)]


def _steps(
    ranking: NDArray[np.floating], positive: NDArray[np.bool_], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """True positives at each share of false positives, of one run: ties rise together."""
    ends, hits = _thresholds(ranking, positive)
    misses = ends + 1 - hits
    x, y = np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])
    # where several share one place the highest counts
    last = np.append(np.flatnonzero(np.diff(x)), len(x) - 1)
    found: NDArray[np.float64] = np.interp(grid, x[last], y[last])
    return found


def _turns(points: list[tuple[float, float]], n: int) -> bool:
    """Whether a line through the neighbours would miss a point."""
    return abs(points[n - 1][1] + points[n + 1][1] - 2 * points[n][1]) > 1e-9
