"""Permutation tests of classifiers: sums over samples by signs, other metrics by exchanged scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eva_core.classification import metrics
from eva_core.statistics.permutation import exchanges, hoeffding, swapped, two_sided

SUMS = ("accuracy", "balanced_accuracy")
"""Metrics that are sums over samples of the share that are right."""


def permutation(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    member: NDArray[np.intp],
    metric: str,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The observed difference, and its two-sided p; arguments as of `paired`, groups as of `intervals.members`.

    Where the metric is a sum over samples, p may be less than 1 / draws: by Hoeffding's bound on a sum of shares
    with random signs, without which no test would survive the correction for a large board. Others are
    computed on the mixed scores of both models: the test is right, but weak where one is calibrated otherwise.
    """
    n_groups = int(member.max(initial=-1)) + 1
    shares, bound = None, 1.0
    if metric in SUMS:
        # these are sums over samples, so that a swap of group g changes the sign of its share, whatever the others do
        shares = np.bincount(member, _shares(a, b, targets, metric), minlength=n_groups).astype(np.float64)
        bound = hoeffding(shares)
    both = np.concatenate([targets, targets])

    def measured(scores: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return metrics.weighted(scores, both, classes, weights, [metric])[metric]

    differences = np.concatenate(
        [
            (1 - 2 * swaps.astype(np.float64)) @ shares
            if shares is not None
            else swapped(a, b, member, measured, swaps)
            for swaps in exchanges(n_groups, draws, seed)
        ]
    )
    return two_sided(differences, bound)


def _shares(
    a: NDArray[np.floating], b: NDArray[np.floating], targets: NDArray[np.integer], metric: str
) -> NDArray[np.float64]:
    """What each sample adds to the difference in (balanced) accuracy, mean over runs, (N,)."""
    hits = [(scores.argmax(-1) == targets).mean(0) for scores in (a, b)]
    shares: NDArray[np.float64]
    if metric == "accuracy":
        shares = (hits[0] - hits[1]) / len(targets)
    else:
        count = np.bincount(targets)
        shares = (hits[0] - hits[1]) / count[targets] / (count > 0).sum()
    return shares
