from itertools import product

import numpy as np
import pytest

from eva_core.statistics.permutation import permutation_of_means, permutation_of_metric
from tests.core.scored import (
    dice,
    mean_of_runs,
)


@pytest.mark.parametrize("undefined", [0.0, 0.3])
def test_means_of_few_groups_are_exchanged_in_all_ways(undefined):
    a, b = dice(0, 0.1, undefined=undefined), dice(1, undefined=undefined)
    groups = np.arange(40) // 7
    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        by_hand.append(mean_of_runs(np.where(swapped, b, a)) - mean_of_runs(np.where(swapped, a, b)))
    observed, p = permutation_of_means(a, b, groups)
    assert observed == pytest.approx(mean_of_runs(a) - mean_of_runs(b))
    assert p == pytest.approx(np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12))


def test_p_of_means_is_uniform_where_nothing_differs():
    below = sum(
        permutation_of_means(dice(2 * t, runs=1), dice(2 * t + 1, runs=1), np.arange(40), draws=200)[1] <= 0.1
        for t in range(200)
    )
    assert 8 <= below <= 32  # 20 expected


def test_a_clear_difference_of_means_has_a_p_below_one_in_draws():
    a, b = dice(6, 0.2, n=2000, undefined=0), dice(7, n=2000, undefined=0)
    a[:, :5] = b[:, :5] = np.nan
    assert permutation_of_means(a, b, np.arange(2000))[1] < 1e-6
    assert permutation_of_means(a[:1], b, np.arange(2000))[1] < 1e-6  # other numbers of runs


@pytest.mark.parametrize("runs", [(1, 1), (2, 3)])
def test_any_metric_is_exchanged_in_all_ways(runs):
    """The median of all predictions, which is no mean over samples."""
    a, b = (dice(n, 0.1 * n, runs=r, undefined=0) for n, r in enumerate(runs))
    groups = np.arange(40) // 7

    def median(both: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.array([np.median(both[drawn == 1]) for drawn in weights])

    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        pairs = [(a[r % len(a)], b[r % len(b)]) for r in range(np.lcm(*runs))]
        mixed = [(np.where(swapped, y, x), np.where(swapped, x, y)) for x, y in pairs]
        by_hand.append(np.mean([np.median(x) - np.median(y) for x, y in mixed]))
    observed, p = permutation_of_metric(a, b, groups, median)
    assert observed == pytest.approx(np.median(a, axis=1).mean() - np.median(b, axis=1).mean())
    assert p == pytest.approx(np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12))
