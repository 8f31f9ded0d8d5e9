"""Agreement of grades with the truth: Cohen's kappa with quadratic weights.

A grade that is two away counts four times as much as one beside it; 1 is perfect, 0 is what grades drawn at random in
the same numbers give (Cohen, Psychological Bulletin 70, 1968).
"""

import numpy as np
from numpy.typing import NDArray


def quadratic_kappa(
    predicted: NDArray[np.integer], targets: NDArray[np.integer], weights: NDArray[np.number]
) -> NDArray[np.float64]:
    """Quadratic kappa under many weightings of the samples.

    Args:
        predicted: Predicted grades, (N,).
        targets: True grades, (N,).
        weights: Non-negative sample weights, (draws, N).
    Returns:
        (draws,); NaN where all that has weight is one grade, predicted and true.

    Examples:
        >>> quadratic_kappa(np.array([0, 1, 2]), np.array([0, 1, 2]), np.ones((1, 3))).tolist()
        [1.0]
    """
    p, t = predicted.astype(np.float64), targets.astype(np.float64)
    columns = np.stack([np.ones_like(p), p, t, p * p + t * t, (p - t) ** 2], axis=1)
    total, sum_p, sum_t, squares, apart = (weights.astype(np.float64) @ columns).T
    by_chance = total * squares - 2 * sum_p * sum_t  # of all pairs of a prediction and a truth
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: NDArray[np.float64] = np.where(by_chance > 0, 1 - total * apart / by_chance, np.nan)
    return kappa
