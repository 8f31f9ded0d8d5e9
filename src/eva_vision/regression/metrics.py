"""Metrics of predicted values under weights of the samples, for the bootstrap.

- `r2`: 1 - sum of squared errors / sum of squares about the mean of the targets.
- `pearson` and `spearman`: correlation of targets and predictions, of their values and of their ranks; equal values
  share the mean of their places. With whole numbers as weights both are those of the sample with its rows repeated.
- `mae`: mean absolute error, in the unit of the targets.

Of several outputs each is measured by itself and the metric is the mean. An output is undefined where its targets are
constant, and a correlation where its predictions are: it is left out of the mean. An output that is defined on all
samples but not under some weights leaves the mean undefined there, or it would be of easier outputs. NaN among the
predictions leaves everything undefined.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eva_vision.regression.metric_names import METRICS

_BLOCK = 2**18  # weights ranked at a time: 2 MB of float64 stay in cache
_CONSTANT = 1e-24  # of a mean square: what a spread below it has is the error of its sum


def weighted(
    predicted: NDArray[np.floating],
    targets: NDArray[np.floating],
    weights: NDArray[np.number],
    outputs: Sequence[str] = ("value",),
    wanted: Sequence[str] = tuple(METRICS),
) -> dict[str, NDArray[np.float64]]:
    """Metrics of one run under many weightings of the samples.

    Args:
        predicted: Predicted values, (N,) or (N, G).
        targets: True values, of the same shape.
        weights: Non-negative sample weights, (draws, N).
        outputs: Names of the G outputs.
        wanted: Names of the metrics that are computed.

    Returns:
        Values (draws,) by name, NaN where undefined: the metrics; with `pearson` of several outputs also
        `pearson/<output>` of each.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> values = weighted(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
        >>> {name: value.round(3).tolist() for name, value in values.items()}
        {'r2': [0.5], 'pearson': [0.982], 'spearman': [1.0], 'mae': [0.333]}
    """
    if targets.shape != predicted.shape or targets.size != len(targets) * len(outputs):
        shape = (len(targets), len(outputs)) if len(outputs) > 1 else (len(targets),)
        raise ValueError(
            f"Expected predictions and targets of shape {shape}, but got {predicted.shape} and {targets.shape}."
        )
    if weights.ndim != 2 or weights.shape[1] != len(targets):
        raise ValueError(f"Expected weights to have shape (draws, {len(targets)}), but got {weights.shape}.")
    x, y = (values.reshape(len(targets), len(outputs)).astype(np.float64) for values in (predicted, targets))
    values: dict[str, NDArray[np.float64]] = {}
    for name in wanted:
        each = by_output(x, y, weights.astype(np.float64), name)  # (d, G)
        defined = ~np.isnan(by_output(x, y, np.ones((1, len(targets))), name)[0])
        whole = defined.any() and not np.isnan(x).any()
        values[name] = each[:, defined].mean(axis=1) if whole else np.full(len(weights), np.nan)
        if name == "pearson" and len(outputs) > 1:
            values.update({f"{name}/{output}": column for output, column in zip(outputs, each.T, strict=True)})
    return values


def by_output(
    predicted: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """One metric of each output: predictions and targets (N, G), weights (d, N) -> (d, G), NaN where undefined."""
    measure = {"r2": _r2, "pearson": _pearson, "spearman": _spearman, "mae": _mae}[name]
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is how undefined becomes NaN
        return measure(predicted, targets, weights)


def _r2(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 - _mean(weights, (x - y) ** 2) / _variance(y, weights)
    return values


def _mae(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return _mean(weights, np.abs(x - y))


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    variances = _variance(x, weights), _variance(y, weights)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    together = _mean(weights, x * y) - _mean(weights, x) * _mean(weights, y)
    return np.clip(together / np.sqrt(variances[0] * variances[1]), -1, 1)


def _mean(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means: (d, N) and (N, G) -> (d, G)."""
    means: NDArray[np.float64] = (weights @ values) / weights.sum(axis=1, keepdims=True)
    return means


def _variance(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted variances, (N, G) -> (d, G), NaN where the values with weight are constant but for rounding."""
    centre = values.mean(axis=0)
    about = values - centre  # so that little is lost in the difference of two sums
    squares, means = _mean(weights, about**2), _mean(weights, about)
    variances = squares - means**2
    rounding = _CONSTANT * (means + centre) ** 2 + 1e-12 * squares
    return np.where(variances > rounding, variances, np.nan)


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    size = max(1, _BLOCK // max(1, len(x)))
    values = np.empty((len(weights), x.shape[1]))
    for column, (of_x, of_y) in enumerate(zip(x.T, y.T, strict=True)):
        places = [_Places(of) for of in (of_x, of_y)]
        for start in range(0, len(weights), size):
            block = weights[start : start + size]
            a, b = (place.ranks(block) for place in places)  # about their mean
            shares = [np.einsum("dn,dn,dn->d", block, *pair) for pair in ((a, b), (a, a), (b, b))]
            values[start : start + size, column] = np.clip(shares[0] / np.sqrt(shares[1] * shares[2]), -1, 1)
    values[:, np.isnan(x).any(axis=0)] = np.nan
    return values


class _Places:
    """Samples sorted once, to be ranked under many weights."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.order = np.argsort(values, kind="stable")
        ascending = values[self.order]
        self.below = np.searchsorted(ascending, values, side="left")
        self.up_to = np.searchsorted(ascending, values, side="right")

    def ranks(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ranks less their weighted mean under weights (d, N): (d, N); equal values share the mean of their places."""
        sums = np.zeros((len(weights), weights.shape[1] + 1))
        np.cumsum(weights.take(self.order, axis=1), axis=1, out=sums[:, 1:])
        places: NDArray[np.float64] = (sums.take(self.below, axis=1) + sums.take(self.up_to, axis=1)) / 2
        places -= sums[:, -1:] / 2
        return places
