"""Permutation tests of whether two models differ on the same images, by group.

A test exchanges the two models' predictions for whole groups at random (Good, Permutation, Parametric and Bootstrap
Tests of Hypotheses, 2005, chapter 3): under the hypothesis that the models do not differ, either could have given
either answer. All 2^G exchanges are made where they are no more than the draws asked for. An exchange leaves every
image with each model once, so no class goes missing. The runs are taken as they are: what other seeds would give is
told by the intervals of `comparison`.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from eva_core.classification import metrics

SUMS = ("accuracy", "balanced_accuracy")
"""Metrics that are sums over samples of the share that are right."""
_BLOCK = 2**20  # flags drawn at a time: 8 MB once they are weights


def permutation(
    a: NDArray,
    b: NDArray,
    targets: NDArray,
    classes: Sequence[str],
    member: NDArray[np.intp],
    metric: str,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The observed difference, and its two-sided p; arguments as of `paired`, groups as of `stats.members`.

    Where the metric is a sum over samples, p may be less than 1 / draws: by Hoeffding's bound on a sum of shares
    with random signs, without which no test would survive the correction for a large board. AUROC, F1 and ECE are
    computed on the mixed scores of both models: the test is right, but weak where one is calibrated otherwise.
    """
    n_groups = int(member.max(initial=-1)) + 1
    shares, bound = None, 1.0
    if metric in SUMS:
        # these are sums over samples, so that a swap of group g changes the sign of its share, whatever the others do
        shares = np.bincount(member, _shares(a, b, targets, metric), minlength=n_groups)
        bound = _hoeffding(shares)
    differences = np.concatenate(
        [
            (1 - 2 * swaps.astype(np.float64)) @ shares
            if shares is not None
            else _swapped(a, b, targets, classes, member, metric, swaps)
            for swaps in _exchanges(n_groups, draws, seed)
        ]
    )
    return _two_sided(differences, bound)


def permutation_of_means(
    a: NDArray, b: NDArray, member: NDArray[np.intp], draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The observed difference, and its two-sided p; arguments as of `paired_means`, groups as of `stats.members`.

    An image may be defined for one model alone: one that finds no nuclei where there are none has no Dice there, one
    that finds some has 0. So the count of images moves with the exchange as the sum of scores does. Where it does not,
    the difference is a sum of shares, and p may be less than 1 / draws, as in `permutation`.
    """
    n_groups = int(member.max(initial=-1)) + 1
    pairs = math.lcm(len(a), len(b))  # of runs, each run as often
    sum_a, sum_b, count_a, count_b = (
        np.stack([np.bincount(member, of[pair % len(of)], n_groups) for pair in range(pairs)], axis=1)  # (G, pairs)
        for of in (np.nan_to_num(a), np.nan_to_num(b), ~np.isnan(a), ~np.isnan(b))
    )
    differences = []
    for swaps in _exchanges(n_groups, draws, seed):
        moved, moved_count = (swaps.astype(np.float64) @ gain for gain in (sum_b - sum_a, count_b - count_a))
        with np.errstate(invalid="ignore"):
            first = (sum_a.sum(axis=0) + moved) / (count_a.sum(axis=0) + moved_count)
            second = (sum_b.sum(axis=0) - moved) / (count_b.sum(axis=0) - moved_count)
        differences.append((first - second).mean(axis=1))
    bound = 1.0
    if (count_a == count_b).all() and count_a.any(axis=0).all():
        bound = _hoeffding(((sum_a - sum_b) / count_a.sum(axis=0)).mean(axis=1))
    return _two_sided(np.concatenate(differences), bound)


def _hoeffding(shares: NDArray) -> float:
    """Bound on the two-sided p of a sum of shares with random signs. Source: Hoeffding 1963, theorem 2."""
    return float(2 * np.exp(-(shares.sum() ** 2) / max(2 * np.square(shares).sum(), 1e-300)))


def _two_sided(differences: NDArray[np.float64], bound: float) -> tuple[float, float]:
    """The observed difference, which is the first, and the share of exchanges that give no less."""
    less = np.abs(differences) < abs(differences[0]) - 1e-12  # an exchange that leaves it undefined is not less
    p = np.mean(~less)
    return float(differences[0]), float(min(p, bound))


def _exchanges(n_groups: int, draws: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Which groups are exchanged, in blocks (S, G); the first is none, so that p is never 0."""
    if n_groups < 63 and 2**n_groups <= draws:
        yield np.array(list(product([False, True], repeat=n_groups)))
        return
    rng, size = np.random.default_rng([seed, 1]), max(1, _BLOCK // n_groups)
    for start in range(0, draws, size):
        swaps = rng.integers(2, size=(min(size, draws - start), n_groups), dtype=np.int8).astype(bool)
        swaps[0] &= start > 0
        yield swaps


def _shares(a: NDArray, b: NDArray, targets: NDArray, metric: str) -> NDArray[np.float64]:
    """What each sample adds to the difference in (balanced) accuracy, mean over runs, (N,)."""
    hits = [(scores.argmax(-1) == targets).mean(0) for scores in (a, b)]
    if metric == "accuracy":
        return (hits[0] - hits[1]) / len(targets)
    count = np.bincount(targets)
    return (hits[0] - hits[1]) / count[targets] / (count > 0).sum()


def _swapped(
    a: NDArray,
    b: NDArray,
    targets: NDArray,
    classes: Sequence[str],
    member: NDArray[np.intp],
    metric: str,
    swaps: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The difference under each exchange: swaps (S, G) -> (S,), mean over pairs of runs."""
    both = np.concatenate([targets, targets])
    pairs = [(a[r % len(a)], b[r % len(b)]) for r in range(math.lcm(len(a), len(b)))]  # each run as often
    differences = np.zeros(len(swaps))
    swapped = swaps[:, member].astype(np.float64)
    for pair in pairs:
        # the predictions of a model are those of A and B with weights: 1 for one of them at each sample
        scores = np.concatenate(pair)
        first, second = (
            metrics.weighted(scores, both, classes, np.concatenate([1 - s, s], axis=1), [metric])[metric]
            for s in (swapped, 1 - swapped)
        )
        differences += (first - second) / len(pairs)
    return differences
