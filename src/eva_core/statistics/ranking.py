"""Ranks over a board, with intervals. Free of torch: it works on the bootstrap draws that every result keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from eva_core.statistics.intervals import filled


@dataclass(frozen=True)
class Rank:
    """Mean rank over tasks, 1 is best, with a 95 % interval; None where a score of some model has none."""

    mean: float
    ci95: tuple[float, float] | None


def ranks(values: NDArray[np.floating], draws: NDArray[np.floating], seed: int = 0) -> list[Rank]:
    """Rank models over tasks; equals share the mean of their places.

    In each draw the tasks are resampled too: the interval speaks of other tasks like these on other patients.

    Args:
        values: Scores, greater is better, (M, T).
        draws: Their bootstrap draws, (M, T, draws); draw d took the same groups for all models.
        seed: Chooses the tasks of each draw.

    Examples:
        >>> scores = np.array([[0.9, 0.8], [0.7, 0.6]])
        >>> ranks(scores, np.repeat(scores[..., None], 100, axis=2))
        [Rank(mean=1.0, ci95=(1.0, 1.0)), Rank(mean=2.0, ci95=(2.0, 2.0))]
    """
    models, tasks, count = draws.shape
    observed = _places(values).mean(1)
    # a draw without some class has no score, and so no rank
    whole = [filled(draws[:, t], seed=t) for t in range(tasks)]
    scores = [task for task in whole if task is not None]
    if len(scores) < tasks:
        return [Rank(float(mean), None) for mean in observed]
    drawn = np.random.default_rng(seed).integers(tasks, size=(count, tasks))
    places = np.stack([_places(task) for task in scores])  # (T, M, draws)
    means = np.stack([places[drawn[d], :, d].mean(0) for d in range(count)])  # (draws, M)
    bounds = np.quantile(means, [0.025, 0.975], axis=0)
    return [Rank(float(observed[m]), (float(bounds[0, m]), float(bounds[1, m]))) for m in range(models)]


def _places(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Places among the models, column by column: (M, K) -> (M, K), from 1."""
    places: NDArray[np.float64] = rankdata(-values, axis=0)
    return places
