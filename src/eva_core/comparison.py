"""Whether two models differ on the same images: paired intervals and permutation tests, by group.

What is compared is the mean over runs. The interval is the percentile bootstrap of the difference, both models on the
same drawn groups. The test exchanges the two models' predictions for whole groups at random (Good, Permutation,
Parametric and Bootstrap Tests of Hypotheses, 2005, chapter 3): under the hypothesis that the models do not differ,
either could have given either answer. All 2^G exchanges are made where they are no more than the draws asked for.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from eva_core import metrics
from eva_core.stats import bootstrap, drawn_weights, members, quantiles

ALPHA = 0.05
"""From which p on two models are not told apart."""
_SUMS = ("accuracy", "balanced_accuracy")
"""Metrics that are sums over samples of the share that are right."""
_BLOCK = 2**20  # flags drawn at a time: 8 MB once they are weights


@dataclass(frozen=True)
class Difference:
    """A - B on one metric.

    Attributes:
        difference: Mean over the runs of A less that of B.
        ci95: Percentile interval of the same on new groups; None for a single group.
        p: Of the permutation test, two-sided; None for a single group, or where the metric is undefined.
        mcnemar_p: Exact McNemar test of the run-averaged predictions; only of classes, and where no groups are known.
        n_groups: How many groups, or images, were drawn.
    """

    difference: float
    ci95: list[float] | None
    p: float | None
    mcnemar_p: float | None
    n_groups: int
    grouped: bool


def paired(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    groups: Sequence[str | None] | None,
    metric: str = "balanced_accuracy",
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same samples.

    Args:
        a: Class probabilities of every run of one model, (R, N, C).
        b: Those of the other, (R', N, C).
        targets: (N,).
        groups: Patient or slide of each, (N,); None if there are none.
        metric: One of `metric_names.NAMES`.
        draws: Bootstrap draws, and permutations.
    Raises:
        ValueError: If the shapes do not fit.
    """
    if a.shape[1:] != b.shape[1:] or a.shape[1:] != (len(targets), len(classes)):
        raise ValueError(
            f"Expected scores (R, {len(targets)}, {len(classes)}) of both, but got {a.shape} and {b.shape}."
        )
    member, grouped = members(groups, len(targets))
    n_groups = int(member.max(initial=-1)) + 1
    one, other = (_mean_of_runs(scores, targets, classes, member, metric, draws, seed) for scores in (a, b))
    observed, p = permutation(a, b, targets, classes, member, metric, draws, seed)
    return Difference(
        difference=observed,
        ci95=quantiles(one - other),
        p=p if n_groups > 1 and not np.isnan(observed) else None,
        mcnemar_p=None if grouped else mcnemar(a.mean(0), b.mean(0), targets),
        n_groups=n_groups,
        grouped=grouped,
    )


def _mean_of_runs(
    scores: NDArray,
    targets: NDArray,
    classes: Sequence[str],
    member: NDArray[np.intp],
    metric: str,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """The metric, mean over runs, under every draw of groups, (draws,)."""
    if metric not in _SUMS:
        measures = [partial(metrics.weighted, run, targets, classes, names=[metric]) for run in scores]
        return np.mean([bootstrap([measure], member, draws, seed)[metric] for measure in measures], axis=0)
    hits = (scores.argmax(-1) == targets).mean(0)  # both are linear in the hits: the mean of runs can come first
    truth = np.eye(len(classes))[targets] if metric == "balanced_accuracy" else np.ones((len(targets), 1))
    values = np.full(draws, np.nan)
    for block, weights in drawn_weights(member, draws, seed):
        with np.errstate(invalid="ignore"):
            recalls = (weights @ (truth * hits[:, None])) / (weights @ truth)  # (d, C), NaN where a class was not drawn
        values[block] = np.nansum(recalls, axis=1) / (~np.isnan(recalls)).sum(axis=1)
    return values


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
    if metric in _SUMS:
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


def paired_means(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    groups: Sequence[str | None] | None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two models by the mean of a score that each image has, such as Dice.

    Args:
        a: Score of every image in every run of one model, NaN where undefined, (R, N).
        b: Those of the other, (R', N).
        groups: Patient or slide of each, (N,); None if there are none.
        draws: Bootstrap draws, and permutations.
    Raises:
        ValueError: If the shapes do not fit.
    """
    if a.ndim != 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"Expected scores (R, N) of both, but got {a.shape} and {b.shape}.")
    member, grouped = members(groups, a.shape[1])
    n_groups = int(member.max(initial=-1)) + 1
    drawn = np.full(draws, np.nan)
    for block, weights in drawn_weights(member, draws, seed):
        one, other = (_weighted_mean(scores, weights) for scores in (a, b))
        drawn[block] = one - other
    observed, p = permutation_of_means(a, b, member, draws, seed)
    return Difference(
        difference=observed,
        ci95=quantiles(drawn),
        p=p if n_groups > 1 and not np.isnan(observed) else None,
        mcnemar_p=None,
        n_groups=n_groups,
        grouped=grouped,
    )


def _weighted_mean(scores: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (R, N), weights (d, N) -> mean over runs of the mean over the images that are defined, (d,)."""
    with np.errstate(invalid="ignore"):
        return ((weights @ np.nan_to_num(scores).T) / (weights @ (~np.isnan(scores)).T.astype(np.float64))).mean(axis=1)


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


def mcnemar(a: NDArray[np.floating], b: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """Exact McNemar test on one prediction a sample, for samples that are independent: scores (N, C) -> p.

    Source: McNemar 1947; exact binomial form.
    """
    right, wrong = (s.argmax(1) == targets for s in (a, b))
    only_a, only_b = int((right & ~wrong).sum()), int((wrong & ~right).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, in the order given. Source: Holm 1979."""
    order = np.argsort(p)
    steps = np.array(p)[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()
