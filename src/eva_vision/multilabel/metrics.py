"""Metrics of several labels of an image under weights of the samples, for the bootstrap.

Each label is measured by itself, on the samples that are annotated with it, and a metric is the mean over labels. A
target of at least 0.5 counts as positive where a metric needs yes or no.

- `auprc`: average precision. `auroc`: share of pairs in order. Both by log-odds, ties together.
- `f1`: at a probability of 0.5.
- `brier`: mean square of the probability less the target, whatever share that is.
- `ece`: calibration error: 15 bins of the probability, mean target against mean probability, L1.

A label that is never positive, or never negative, in a split has no `auprc` and no `auroc` there, and one that is never
positive no `f1`: it is left out of the mean. A label that has them on all samples but not under some weights leaves the
mean undefined there, or it would be of easier labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from eva_core.classification.ranked import RankedClass
from eva_vision.multilabel.metric_names import METRICS

POSITIVE = 0.5
"""Target and probability from which on a label is there."""
BINS = 15


def weighted(
    log_odds: NDArray[np.floating],
    targets: NDArray[np.floating],
    labels: Sequence[str],
    weights: NDArray[np.number],
    wanted: Sequence[str] = tuple(METRICS),
) -> dict[str, NDArray[np.float64]]:
    """Metrics of one run under many weightings of the samples.

    Args:
        log_odds: Log-odds of each label, (N, L).
        targets: Shares from 0 to 1, NaN where not annotated, (N, L).
        labels: Names of the L labels.
        weights: Non-negative sample weights, (draws, N).
        wanted: Names of the metrics that are computed.

    Returns:
        Values (draws,) by name, NaN where undefined: the means over labels, then `<metric>/<label>` of each.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> odds, targets = np.array([[2.0, -1.0], [-2.0, 1.0]]), np.array([[1.0, 1.0], [0.0, np.nan]])
        >>> values = weighted(odds, targets, ["a", "b"], np.ones((1, 2)), ["auroc"])
        >>> {name: value.tolist() for name, value in values.items()}
        {'auroc': [1.0], 'auroc/a': [1.0], 'auroc/b': [nan]}
    """
    if log_odds.shape != targets.shape or targets.shape[1:] != (len(labels),):
        raise ValueError(
            f"Expected scores and targets of {len(labels)} labels, but got {log_odds.shape} and {targets.shape}."
        )
    if weights.ndim != 2 or weights.shape[1] != len(targets):
        raise ValueError(f"Expected weights to have shape (draws, {len(targets)}), but got {weights.shape}.")
    means: dict[str, NDArray[np.float64]] = {}
    single: dict[str, NDArray[np.float64]] = {}
    for name in wanted:
        each = by_label(log_odds, targets, weights.astype(np.float64), name)  # (d, L)
        defined = ~np.isnan(by_label(log_odds, targets, np.ones((1, len(targets))), name)[0])
        means[name] = each[:, defined].mean(axis=1) if defined.any() else np.full(len(weights), np.nan)
        single.update({f"{name}/{label}": column for label, column in zip(labels, each.T, strict=True)})
    return means | single


def by_label(
    log_odds: NDArray[np.floating], targets: NDArray[np.floating], weights: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """One metric of each label: scores and targets (N, L), weights (d, N) -> (d, L), NaN where undefined."""
    measure = {"auprc": _auprc, "auroc": _auroc, "f1": _f1, "brier": _brier, "ece": _ece}[name]
    values = np.full((len(weights), targets.shape[1]), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is how undefined becomes NaN
        for label in range(targets.shape[1]):
            rows = np.flatnonzero(~np.isnan(targets[:, label]))
            values[:, label] = measure(log_odds[rows, label], targets[rows, label], weights[:, rows])
    return values


def calibration_gaps(
    log_odds: NDArray[np.floating], targets: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What the calibration error sums the absolute values of: (N, L) both, weights (d, N) -> (d, labels * bins)."""
    annotated = [label for label in range(targets.shape[1]) if not np.isnan(targets[:, label]).all()]
    parts = []
    with np.errstate(invalid="ignore"):
        for label in annotated:
            rows = np.flatnonzero(~np.isnan(targets[:, label]))
            parts.append(_gaps(log_odds[rows, label], targets[rows, label], weights[:, rows]) / len(annotated))
    return np.concatenate(parts, axis=1) if parts else np.full((len(weights), 1), np.nan)


def _gaps(
    log_odds: NDArray[np.floating], targets: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean target less probability in each bin, times its share of the weight: (n,) both, (d, n) -> (d, bins)."""
    probabilities = expit(log_odds.astype(np.float64))
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    columns = np.eye(BINS)[bins] * (targets - probabilities)[:, None]
    gaps: NDArray[np.float64] = (weights @ columns) / weights.sum(axis=1, keepdims=True)
    return gaps


def _ece(z: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.abs(_gaps(z, y, weights)).sum(axis=1)
    return errors


def _auprc(z: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return RankedClass(z, y >= POSITIVE).average_precision(weights)


def _auroc(z: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return RankedClass(z, y >= POSITIVE).auroc(weights)


def _f1(z: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    positive, said = y >= POSITIVE, z >= 0
    there, called, hits = (weights @ np.stack([positive, said, positive & said], axis=1).astype(np.float64)).T
    f1: NDArray[np.float64] = np.where(there > 0, 2 * hits / (there + called), np.nan)
    return f1


def _brier(z: NDArray[np.floating], y: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = weights @ (expit(z.astype(np.float64)) - y) ** 2 / weights.sum(axis=1)
    return squares
