"""What a page draws of a classifier besides numbers: confusions, reliability, ROC."""

import numpy as np
from numpy.typing import NDArray

from eva_core.classification.metrics import confidence_bins

_GRID = 101
"""Places of false positives at which runs are averaged."""


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
    found = np.mean([_steps(run, positive, grid) for run in ranking], axis=0)
    points = [(float(x), float(y)) for x, y in zip(grid, found, strict=True)]
    return [point for n, point in enumerate(points) if n in (0, len(points) - 1) or _turns(points, n)]


def _steps(
    ranking: NDArray[np.floating], positive: NDArray[np.bool_], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """True positives at each share of false positives, of one run: ties rise together."""
    order = np.argsort(-ranking, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(ranking[order])), len(order) - 1)
    hits, misses = np.cumsum(positive[order])[ends], np.cumsum(~positive[order])[ends]
    x, y = np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])
    # where several share one place the highest counts
    last = np.append(np.flatnonzero(np.diff(x)), len(x) - 1)
    found: NDArray[np.float64] = np.interp(grid, x[last], y[last])
    return found


def _turns(points: list[tuple[float, float]], n: int) -> bool:
    """Whether a line through the neighbours would miss a point."""
    return abs(points[n - 1][1] + points[n + 1][1] - 2 * points[n][1]) > 1e-9
