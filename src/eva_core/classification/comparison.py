"""Whether two classifiers differ on the same images."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from eva_core.classification import metrics
from eva_core.classification.metric_names import METRICS, metrics_of
from eva_core.classification.permutation import SUMS, permutation
from eva_core.statistics.comparison import Difference, Paired, difference_of
from eva_core.statistics.intervals import members


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
        a: Class probabilities of every run of one model, (R, N, C); whatever ranks for
            `auroc` and `auprc`, as log-odds.
        b: Scores of the other, (R', N, C).
        targets: Class numbers, (N,).
        classes: The C class names.
        groups: Patient or slide of each, (N,); None if there are none.
        metric: One of `metric_names.NAMES`.
        draws: Number of bootstrap draws, and of permutations.
        seed: Draw d depends on `seed`, d and the number of groups alone.
    Raises:
        ValueError: If the shapes do not fit.
    """
    if a.shape[1:] != b.shape[1:] or a.shape[1:] != (len(targets), len(classes)):
        raise ValueError(
            f"Expected scores (R, {len(targets)}, {len(classes)}) of both, but got {a.shape} and {b.shape}."
        )
    member, grouped = members(groups, len(targets))
    mean = _mean_of_hits if metric in SUMS else _mean_of_runs
    one, other = (partial(mean, scores, targets, classes, metric) for scores in (a, b))
    facts = metrics_of(len(classes))[metric]
    return difference_of(
        Paired((one, other), (len(a), len(b)), member, grouped),
        permutation(a, b, targets, classes, member, metric, draws, seed),
        draws,
        seed,
        biased=facts.biased,
        bounds=facts.bounds,
        mcnemar_p=None if grouped else mcnemar(a.mean(0), b.mean(0), targets),
    )


def _mean_of_hits(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    metric: str,
    weights: NDArray[np.float64],
    runs: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean over runs of accuracy or balanced accuracy: both are sums of hits, so the mean can come first."""
    hits = runs @ (scores.argmax(-1) == targets)  # (d, N)
    truth = np.ones((len(targets), 1)) if metric == "accuracy" else np.eye(len(classes))[targets]
    truth = truth[:, truth.any(axis=0)]  # classes that no image has do not count
    with np.errstate(invalid="ignore"):
        recalls = ((weights * hits) @ truth) / (weights @ truth)  # NaN where a class was not drawn
    mean: NDArray[np.float64] = recalls.mean(axis=1)
    return mean


def _mean_of_runs(
    scores: NDArray[np.floating],
    targets: NDArray[np.integer],
    classes: Sequence[str],
    metric: str,
    weights: NDArray[np.float64],
    runs: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean over runs of any metric; one that noise can only raise is reflected, as in `intervals.bootstrap`."""
    total = np.zeros(len(weights))
    for run, share in zip(scores, runs.T, strict=True):
        values = metrics.weighted(run, targets, classes, weights, [metric])[metric]
        if METRICS[metric].biased:
            values = 2 * metrics.weighted(run, targets, classes, np.ones((1, len(targets))), [metric])[metric] - values
        total += values * share
    return total


def mcnemar(a: NDArray[np.floating], b: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """Exact McNemar test on one prediction a sample, for samples that are independent: scores (N, C) -> p.

    Source: McNemar 1947; exact binomial form.

    Examples:
        >>> a, b = np.eye(2)[[0, 0, 0, 0, 0, 1]], np.eye(2)[[0, 1, 1, 1, 1, 1]]
        >>> mcnemar(a, b, targets=np.zeros(6, int))  # A alone is right on four samples, B alone on none
        0.125
    """
    right, wrong = (s.argmax(1) == targets for s in (a, b))
    only_a, only_b = int((right & ~wrong).sum()), int((wrong & ~right).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
