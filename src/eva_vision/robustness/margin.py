"""CRoMa: the signed margin between the nearest images of the same class elsewhere and those of other classes here.

Source: the package croma 1.0.1, arXiv 2607.25497.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

M = 5
"""Neighbours of each kind whose mean distance counts, as in the published values."""
TAIL = 0.1
"""Share of the images with the lowest margins that LTM10 is the mean of."""


@dataclass(frozen=True)
class Margins:
    """Margins of N images, (OS - SO) / (OS + SO) of mean distances: NaN where an image lacks neighbours.

    Attributes:
        values: The margins, (N,), between -1 and 1.
        lacking: How many images have fewer than M neighbours of a kind.
        copies: How many have neighbours of both kinds that are all copies of it.
    """

    values: NDArray[np.float64]
    lacking: int
    copies: int

    def measure(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Median, lower-tail mean and share of margins of at most 0 under whole weights of the images (d, N)."""
        defined = ~np.isnan(self.values)
        order = np.flatnonzero(defined)[np.argsort(self.values[defined], kind="stable")]
        values, weights = self.values[order], weights[:, order]
        low = quantile(values, weights, TAIL)
        tail = weights * (values <= low[:, None])
        with np.errstate(invalid="ignore"):
            return {
                "croma": quantile(values, weights, 0.5),
                "croma_ltm10": (tail @ values) / tail.sum(1),
                "croma_f0": (weights @ (values <= 0)) / weights.sum(1),
            }


def margins(so: NDArray[np.float64], os: NDArray[np.float64]) -> Margins:
    """Margins from distances to the M nearest of the same class elsewhere, and of another class here, (N, M) both."""
    near, far = so.mean(1), os.mean(1)
    lacking = np.isinf(near) | np.isinf(far)
    copies = ~lacking & (near + far <= 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(lacking | copies, np.nan, (far - near) / (far + near))
    return Margins(values, int(lacking.sum()), int(copies.sum()))


def quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Quantiles of values that are repeated, interpolated linearly as numpy does; NaN where all weights are 0.

    Args:
        values: In ascending order, (N,).
        weights: How often each value is there, whole numbers (d, N).
        share: Between 0 and 1.
    Returns:
        (d,)

    Examples:
        >>> quantile(np.array([1.0, 2.0, 4.0]), np.array([[1.0, 0.0, 1.0], [1.0, 2.0, 1.0]]), 0.5)
        array([2.5, 2. ])
    """
    if not len(values):
        return np.full(len(weights), np.nan)
    until = weights.cumsum(1)  # (d, N)
    place = np.maximum(until[:, -1] - 1, 0) * share
    low, high = (_at(values, until, side) for side in (np.floor(place), np.ceil(place)))
    return np.where(until[:, -1] > 0, low + (place - np.floor(place)) * (high - low), np.nan)


def _at(values: NDArray[np.float64], until: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value at a place of the repeated ones, from 0."""
    found: NDArray[np.float64] = values[np.minimum((until <= place[:, None]).sum(1), len(values) - 1)]
    return found
