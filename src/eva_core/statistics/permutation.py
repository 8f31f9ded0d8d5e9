"""Permutation tests of whether two models differ on the same images, by group.

A test exchanges the two models' predictions for whole groups at random (Good, Permutation, Parametric and Bootstrap
Tests of Hypotheses, 2005, chapter 3): under the hypothesis that the models do not differ, either could have given
either answer. All 2^G exchanges are made where they are no more than the draws asked for. An exchange leaves every
image with each model once, so no class goes missing. The runs are taken as they are: what other seeds would give is
told by the intervals of `comparison`.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**20  # flags drawn at a time: 8 MB once they are weights


def permutation_of_means(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    member: NDArray[np.intp],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The observed difference, and its two-sided p; arguments as of `paired_means`, groups as of `intervals.members`.

    A sample may be defined for one model alone: one that finds nothing where there is nothing has no score there, one
    that finds something has 0. So the count of images moves with the exchange as the sum of scores does. Where it does
    not, the difference is a sum of shares, and p may be less than 1 / draws, as in `permutation`.
    """
    n_groups = int(member.max(initial=-1)) + 1
    pairs = math.lcm(len(a), len(b))  # of runs, each run as often
    sum_a, sum_b, count_a, count_b = (
        np.stack([np.bincount(member, of[pair % len(of)], n_groups) for pair in range(pairs)], axis=1)  # (G, pairs)
        for of in (np.nan_to_num(a), np.nan_to_num(b), ~np.isnan(a), ~np.isnan(b))
    )
    differences = []
    for swaps in exchanges(n_groups, draws, seed):
        moved, moved_count = (swaps.astype(np.float64) @ gain for gain in (sum_b - sum_a, count_b - count_a))
        with np.errstate(invalid="ignore"):
            first = (sum_a.sum(axis=0) + moved) / (count_a.sum(axis=0) + moved_count)
            second = (sum_b.sum(axis=0) - moved) / (count_b.sum(axis=0) - moved_count)
        differences.append((first - second).mean(axis=1))
    bound = 1.0
    if (count_a == count_b).all() and count_a.any(axis=0).all():
        bound = hoeffding(((sum_a - sum_b) / count_a.sum(axis=0)).mean(axis=1))
    return two_sided(np.concatenate(differences), bound)


def permutation_of_metric(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    member: NDArray[np.intp],
    measured: Callable[[NDArray[np.floating], NDArray[np.float64]], NDArray[np.float64]],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The observed difference, and its two-sided p, of any metric that can be had under weights of the samples.

    It is computed on the mixed predictions of both models: the test is right, but weak where one is calibrated
    otherwise. What is invariant to order alone is tested on ranks, then.

    Args:
        a: Predictions of every run of one model, (R, N, ...).
        b: Predictions of the other, (R', N, ...).
        member: Number of the group of each sample, from `intervals.members`, (N,).
        measured: The metric of predictions of all samples by A, then of all by B, (2 N, ...), under weights of them,
            (S, 2 N): (S,).
        draws: Number of permutations.
        seed: Chooses the groups that are exchanged.
    """
    n_groups = int(member.max(initial=-1)) + 1
    return two_sided(
        np.concatenate([swapped(a, b, member, measured, swaps) for swaps in exchanges(n_groups, draws, seed)]), 1.0
    )


def swapped(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    member: NDArray[np.intp],
    measured: Callable[[NDArray[np.floating], NDArray[np.float64]], NDArray[np.float64]],
    swaps: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The difference under each exchange: swaps (S, G) -> (S,), mean over pairs of runs."""
    pairs = [(a[r % len(a)], b[r % len(b)]) for r in range(math.lcm(len(a), len(b)))]  # each run as often
    differences = np.zeros(len(swaps))
    exchanged = swaps[:, member].astype(np.float64)
    for pair in pairs:
        # the predictions of a model are those of A and B with weights: 1 for one of them at each sample
        both = np.concatenate(pair)
        first, second = (measured(both, np.concatenate([1 - s, s], axis=1)) for s in (exchanged, 1 - exchanged))
        differences += (first - second) / len(pairs)
    return differences


def hoeffding(shares: NDArray[np.float64]) -> float:
    """Bound on the two-sided p of a sum of shares with random signs. Source: Hoeffding 1963, theorem 2."""
    return float(2 * np.exp(-(shares.sum() ** 2) / max(2 * np.square(shares).sum(), 1e-300)))


def two_sided(differences: NDArray[np.float64], bound: float) -> tuple[float, float]:
    """The observed difference, which is the first, and the share of exchanges that give no less."""
    less = np.abs(differences) < abs(differences[0]) - 1e-12  # an exchange that leaves it undefined is not less
    p = np.mean(~less)
    return float(differences[0]), float(min(p, bound))


def exchanges(n_groups: int, draws: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Flags of the groups that are exchanged, in blocks (S, G); the first is none, so that p is never 0.

    Examples:
        >>> [block.tolist() for block in exchanges(2, draws=2000, seed=0)]
        [[[False, False], [False, True], [True, False], [True, True]]]
    """
    if n_groups < 63 and 2**n_groups <= draws:
        yield np.array(list(product([False, True], repeat=n_groups)))
        return
    rng, size = np.random.default_rng([seed, 1]), max(1, _BLOCK // n_groups)
    for start in range(0, draws, size):
        swaps = rng.integers(2, size=(min(size, draws - start), n_groups), dtype=np.int8).astype(bool)
        swaps[0] &= start > 0
        yield swaps
