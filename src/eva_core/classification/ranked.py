"""What the order of scores says of one class under weights of the samples: AUROC and average precision."""

import numpy as np
from numpy.typing import NDArray


class RankedClass:
    """Positives and negatives of one class, sorted once by what ranks them.

    Args:
        scores: What ranks the samples, (N,).
        positive: Whether a sample is of the class, (N,).
    """

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        order = np.argsort(scores)
        self.positives, self.negatives = order[positive[order]], order[~positive[order]]
        ascending, own = scores[self.negatives], scores[self.positives]
        self.below = np.searchsorted(ascending, own, side="left")
        self.up_to = np.searchsorted(ascending, own, side="right")
        self.first = np.searchsorted(own, own, side="left")  # of the positives that tie with each

    def auroc(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of pairs in order, ties counting half: weights (d, N) -> (d,), NaN where a side has no weight."""
        positive = weights.take(self.positives, axis=1)
        negative = self._negative(weights)
        twice = negative.take(self.below, axis=1)
        twice += negative.take(self.up_to, axis=1)
        in_order = np.einsum("dp,dp->d", positive, twice)
        share: NDArray[np.float64] = in_order / (2 * positive.sum(axis=1) * negative[:, -1])
        return share

    def average_precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the positives of the precision at their score, which those that tie with them are part of.

        This is the area below the precision-recall curve by steps (AUPRC), without interpolation between them, which
        would be too large (Davis and Goadrich, ICML 2006).

        Args:
            weights: Non-negative sample weights, (d, N).
        Returns:
            (d,); NaN where a side has no weight.
        """
        positive = weights.take(self.positives, axis=1)
        negative = self._negative(weights)
        above = negative[:, -1:] - negative.take(self.below, axis=1)  # and the ties
        found = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1].take(self.first, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where a positive has no weight, or a side has none
            precision = np.where(positive > 0, found / (found + above), 0)
            mean = np.einsum("dp,dp->d", positive, precision) / positive.sum(axis=1)
        values: NDArray[np.float64] = np.where(negative[:, -1] > 0, mean, np.nan)
        return values

    def _negative(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weight of the negatives below each place, ascending: (d, negatives + 1)."""
        sums = np.zeros((len(weights), len(self.negatives) + 1))
        np.cumsum(weights.take(self.negatives, axis=1), axis=1, out=sums[:, 1:])
        return sums
