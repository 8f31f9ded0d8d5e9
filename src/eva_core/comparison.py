"""Whether two models differ on the same images: paired intervals and permutation tests, by group.

The interval is the percentile bootstrap of the difference, both models on the same drawn groups, and one run of each a
draw. The test exchanges the two models' predictions for whole groups at random (Good, Permutation, Parametric and
Bootstrap Tests of Hypotheses, 2005, chapter 3): under the hypothesis that the models do not differ, either could have
given either answer. All 2^G exchanges are made where they are no more than the draws asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from eva_core import metrics
from eva_core.stats import bootstrap, members, quantiles

_BLOCK = 2**21


@dataclass(frozen=True)
class Difference:
    """A - B on one metric.

    Attributes:
        difference: Mean over the runs of A less that of B.
        ci95: Percentile interval of one run of each on new groups; None for a single group.
        p: Of the permutation test, two-sided; None for a single group.
        mcnemar_p: Exact McNemar test of the run-averaged predictions; only where no groups are known.
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
        metric: One of `metrics.NAMES`.
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
    one, other = (bootstrap(scores, targets, classes, member, draws, seed, [metric])[metric] for scores in (a, b))
    observed, p = permutation(a, b, targets, classes, member, metric, draws, seed)
    return Difference(
        difference=observed,
        ci95=quantiles(one - other),
        p=p if n_groups > 1 else None,
        mcnemar_p=None if grouped else mcnemar(a.mean(0), b.mean(0), targets),
        n_groups=n_groups,
        grouped=grouped,
    )


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

    Where the metric is a sum over samples, p may be less than 1 / draws: by Hoeffding's bound (1963, theorem 2) on a
    sum of shares with random signs, without which no test would survive the correction for a large board.
    """
    n_groups = int(member.max(initial=-1)) + 1
    exact = 2**n_groups <= draws if n_groups < 63 else False
    if exact:
        swaps = np.array(list(product([False, True], repeat=n_groups)))
    else:
        swaps = np.random.default_rng([seed, 1]).random((draws, n_groups)) < 0.5
        swaps[0] = False  # the labels as they are: with them counted, p is never 0
    if metric in ("accuracy", "balanced_accuracy"):
        # these are sums over samples, so that a swap of group g changes the sign of its share, whatever the others do
        shares = np.bincount(member, _shares(a, b, targets, metric), minlength=n_groups)
        differences = (1 - 2 * swaps.astype(np.float64)) @ shares
        bound = 2 * np.exp(-(shares.sum() ** 2) / max(2 * np.square(shares).sum(), 1e-300))
    else:
        differences, bound = _swapped(a, b, targets, classes, member, metric, swaps), 1.0
    p = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
    return float(differences[0]), float(min(p, bound))


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
    pairs = [(a[r % len(a)], b[r % len(b)]) for r in range(max(len(a), len(b)))]
    differences = np.zeros(len(swaps))
    size = max(1, _BLOCK // len(both))
    for start in range(0, len(swaps), size):
        swapped = swaps[start : start + size][:, member].astype(np.float64)
        for pair in pairs:
            # the predictions of a model are those of A and B with weights: 1 for one of them at each sample
            scores = np.concatenate(pair)
            first, second = (
                metrics.weighted(scores, both, classes, np.concatenate([1 - s, s], axis=1), [metric])[metric]
                for s in (swapped, 1 - swapped)
            )
            differences[start : start + size] += (first - second) / len(pairs)
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
