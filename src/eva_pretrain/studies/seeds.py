"""How sure the mean over seeds is. Free of torch.

A seed has the draws of its result: draw d took the same test groups for all models (`statistics.intervals`). Seeds are
resampled within each: S - 1 of the S with replacement, which makes the variance of the mean right, where S of S would
make it too small by (S - 1) / S (Rao and Wu, Resampling inference with complex survey data, JASA 83, 1988). A
percentile interval does not know how little three seeds tell of their own spread; so a t-interval over seeds, on the
test images as they are, stands beside it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def resampled(draws: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Mean over resampled seeds, under each draw of test groups: (S, draws) -> (draws,).

    As many seeds give the same choice, so that a difference is of pairs.
    """
    n, count = draws.shape
    if n == 1:
        return draws[0]
    chosen = np.random.default_rng(seed).integers(n, size=(count, n - 1))
    return draws[chosen, np.arange(count)[:, None]].mean(1)


def over_seeds(values: NDArray[np.float64]) -> list[float] | None:
    """t-interval of the mean of seeds (S,), on the test images as they are; None for one."""
    n = len(values)
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 0.975)) * values.std(ddof=1) / np.sqrt(n)
    return [float(values.mean() - half), float(values.mean() + half)]


def welch(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float] | None:
    """t-interval of the difference of two means of seeds, (S,) and (T,); None where one seed tells of no spread.

    Source: Welch 1947, the degrees of freedom of Satterthwaite.
    """
    if min(len(one), len(other)) < 2:
        return None
    parts = [(v.var(ddof=1) / len(v), len(v) - 1) for v in (one, other)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / n for part, n in parts) if variance else min(n for _, n in parts)
    half, difference = float(stdtrit(freedom, 0.975)) * np.sqrt(variance), one.mean() - other.mean()
    return [float(difference - half), float(difference + half)]
