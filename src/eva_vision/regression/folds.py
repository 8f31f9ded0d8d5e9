"""Metrics of cross-validated values: each fold by itself, as its heads are others; then their mean."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.metrics import by_output, weighted


def weighted_over_folds(
    predicted: NDArray[np.floating],
    targets: NDArray[np.floating],
    weights: NDArray[np.number],
    folds: NDArray[np.integer] | None,
    outputs: Sequence[str] = ("value",),
    wanted: Sequence[str] = tuple(METRICS),
) -> dict[str, NDArray[np.float64]]:
    """The mean over folds of metrics of one run under many weightings of the samples.

    A fold counts by the mean weight of its samples: all the same where each weighs 1; where each fold is a patient, a
    draw of patients draws folds. A metric that is undefined on all samples of a fold is the mean of the other folds.

    Args:
        predicted: Predicted values, (N,) or (N, G).
        targets: True values, of the same shape.
        weights: Non-negative sample weights, (draws, N).
        folds: Number of the fold in which each sample was scored, (N,); None for one.
        outputs: Names of the G outputs.
        wanted: Names of the metrics that are computed.

    Returns:
        Values (draws,) by name as of `metrics.weighted`, NaN where undefined.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> one, two = [1.0, 2.0, 4.0], [4.0, 2.0, 2.0]  # correlations 1 and -0.5
        >>> targets, folds = np.array([1.0, 2.0, 4.0, 1.0, 4.0, 1.0]), np.array([0, 0, 0, 1, 1, 1])
        >>> values = weighted_over_folds(np.array(one + two), targets, np.ones((1, 6)), folds, wanted=["pearson"])
        >>> values["pearson"].round(3).tolist()
        [0.25]
    """
    if folds is None or (folds == folds[:1]).all():
        return weighted(predicted, targets, weights, outputs, wanted)
    totals: dict[str, NDArray[np.float64]] = {}
    counted: dict[str, NDArray[np.float64]] = {}
    for rows in rows_of_folds(folds):
        of_fold = predicted[rows], targets[rows]
        values = weighted(*of_fold, weights[:, rows], outputs, wanted)
        whole = weighted(*of_fold, np.ones((1, len(rows))), outputs, wanted)
        share = weights[:, rows].mean(axis=1).astype(np.float64)
        for name, value in values.items():
            defined = 0.0 if np.isnan(whole[name][0]) else 1.0
            part = np.where(share * defined > 0, share * value, 0.0)
            totals[name] = totals.get(name, 0) + part
            counted[name] = counted.get(name, 0) + share * defined
    broken = bool(np.isnan(predicted).any())
    with np.errstate(invalid="ignore"):
        return {name: np.where(broken, np.nan, total / counted[name]) for name, total in totals.items()}


def of_each_output(
    predicted: NDArray[np.float64], targets: NDArray[np.float64], folds: NDArray[np.integer] | None, name: str
) -> NDArray[np.float64]:
    """One metric of each output, the mean over folds where it is defined: (N, G) both -> (G,)."""
    parts = [np.arange(len(targets))] if folds is None else list(rows_of_folds(folds))
    values = np.stack(
        [by_output(predicted[rows], targets[rows], np.ones((1, len(rows))), name)[0] for rows in parts]
    )  # (folds, G)
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)
    return means


def rows_of_folds(folds: NDArray[np.integer]) -> Iterator[NDArray[np.intp]]:
    """The samples of each fold, ascending."""
    for fold in np.unique(folds):
        yield np.flatnonzero(folds == fold)
