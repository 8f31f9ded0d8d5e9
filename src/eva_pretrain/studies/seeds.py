"""Intervals of a mean over seeds. Free of torch.

Each seed has the draws of its result: draw d took the same test groups for all models (`statistics.intervals`). Within
each draw, S - 1 of the S seeds are resampled with replacement, which makes the variance of the mean right, where S of S
would make it too small by (S - 1) / S (Rao and Wu, Resampling inference with complex survey data, JASA 83, 1988). A
percentile interval does not reflect how little three seeds tell of their spread; so it is reported with a t-interval
over seeds, on the test images as they are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def resampled(draws: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Average over resampled seeds, under each draw of test groups.

    The choice depends on S and the number of draws alone, so that the difference of two variants is paired.

    Args:
        draws: Score of each seed under each draw of test groups, (S, draws).
        seed: Seed of the choice.

    Returns:
        Mean over the resampled seeds, (draws,).
    """
    n, count = draws.shape
    chosen = np.random.default_rng(seed).integers(n, size=(count, n - 1)) if n > 1 else np.zeros((count, 1), np.int64)
    means: NDArray[np.float64] = draws[chosen, np.arange(count)[:, None]].mean(1)
    return means


def over_seeds(values: NDArray[np.float64]) -> list[float] | None:
    """Compute the t-interval of the mean of seeds (S,), on the test images as they are; None for one seed.

    Examples:
        >>> [round(bound, 3) for bound in over_seeds(np.array([0.90, 0.91, 0.92]))]
        [0.885, 0.935]
    """
    n = len(values)
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 0.975)) * values.std(ddof=1) / np.sqrt(n)
    return [float(values.mean() - half), float(values.mean() + half)]


def welch(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float] | None:
    """Compute the t-interval of the difference of two means of seeds, (S,) and (T,); None where either is one seed.

    Source: Welch 1947, the degrees of freedom of Satterthwaite.
    """
    if min(len(one), len(other)) < 2:
        return None
    parts = [(v.var(ddof=1) / len(v), len(v) - 1) for v in (one, other)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / n for part, n in parts) if variance else min(n for _, n in parts)
    half, difference = float(stdtrit(freedom, 0.975)) * np.sqrt(variance), one.mean() - other.mean()
    return [float(difference - half), float(difference + half)]
