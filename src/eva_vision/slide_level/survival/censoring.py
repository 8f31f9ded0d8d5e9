"""How likely it was to be still followed: what the metrics of Uno weight events by."""

import numpy as np
from numpy.typing import NDArray

from eva_vision.slide_level.survival.targets import Outcomes


def inverse_censoring(outcomes: Outcomes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / G(T) of each patient, G being the Kaplan-Meier estimate of the time to censoring, under weights.

    Who has the event at a time is no more at risk of being censored at it. Where nobody is left, G = 0, the result is
    0: such an event does not count. The estimate is of the patients of the split, of all strata together, as they
    are of one cohort.

    Args:
        outcomes: The patients.
        weights: Non-negative weights of them, (d, N).

    Returns:
        (d, N).

    Examples:
        >>> outcomes = Outcomes(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
        >>> inverse_censoring(outcomes, np.ones((1, 4))).round(3).tolist()
        [[1.0, 1.5, 1.5, 0.0]]
    """
    if not len(outcomes.times):
        return np.zeros(weights.shape)
    order = np.argsort(outcomes.times, kind="stable")
    inverse = np.unique(outcomes.times, return_inverse=True)[1]
    _, first = np.unique(outcomes.times[order], return_index=True)
    ordered = weights.take(order, axis=1)
    censored = np.add.reduceat(ordered * ~outcomes.events[order], first, axis=1)  # (d, times)
    all_at = np.add.reduceat(ordered, first, axis=1)
    later = all_at.sum(axis=1, keepdims=True) - np.cumsum(all_at, axis=1)
    at_risk = later + censored
    left = np.divide(later, at_risk, out=np.ones_like(later), where=at_risk > 0)
    followed = np.cumprod(left, axis=1)
    inverse_of: NDArray[np.float64] = np.divide(1, followed, out=np.zeros_like(followed), where=followed > 0)
    return inverse_of.take(inverse, axis=1)
