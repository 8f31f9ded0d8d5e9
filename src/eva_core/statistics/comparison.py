"""Whether two models differ on the same images: paired intervals and tests, by group.

What is compared is the mean over runs. The interval is the percentile bootstrap of the difference, both models on the
same drawn groups; draws in which it is undefined for one of them are left out of both. The runs are drawn too, R - 1 of
R with replacement, which makes the variance of their mean right (Rao and Wu, JASA 83, 1988): it is about other seeds as
well. Two models of as many runs have the same ones drawn, as run k has the same seed in both.

Below 20 groups, or 20 runs where there are several, percentiles are too narrow (they cover 0.82 to 0.91). So a
t-interval stands beside them: its variance is that over groups, by the jackknife where they are few, plus that over
runs, with the degrees of freedom of Satterthwaite. Models are told apart only where the test and every interval that
holds for so few agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eva_core.statistics.intervals import (
    FEW_GROUPS,
    Measure,
    drawn_runs,
    drawn_weights,
    jackknife_variance,
    members,
    quantiles,
    t_interval,
    without_each,
)
from eva_core.statistics.permutation import permutation_of_means

ALPHA = 0.05
"""From which p on two models are not told apart."""


Mean = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Weighted mean of a model's metric over its runs: weights of the samples (d, N) and of the runs (d, R) -> (d,)."""


@dataclass(frozen=True)
class Difference:
    """Difference of two models, A - B, on one metric.

    Attributes:
        difference: Mean over the runs of A less that of B; NaN where undefined.
        ci95: Percentile interval of the same on new groups and runs; None for a single group, or too few draws.
        p: Two-sided p of the permutation test; None for a single group, or where the metric is undefined.
        mcnemar_p: Exact McNemar test of the run-averaged predictions; only of classes, and where no groups are known.
        n_groups: How many groups, or images, were drawn.
        grouped: Whether groups were drawn, not images.
        t95: t-interval over groups and runs; None unless `few`, and where one of few groups alone has a class.
        left_out: In how many draws the difference is undefined.
        few: There are 2 to 19 groups, or 2 to 19 runs of a model: the percentiles alone would mislead.
    """

    difference: float
    ci95: list[float] | None
    p: float | None
    mcnemar_p: float | None
    n_groups: int
    grouped: bool
    t95: list[float] | None = None
    left_out: int = 0
    few: bool = False

    def is_significant(self, p: float) -> bool:
        """Whether the models differ, by an adjusted p, and by each interval that holds for so many groups.

        Examples:
            >>> difference = Difference(0.1, ci95=[0.02, 0.18], p=0.01, mcnemar_p=None, n_groups=60, grouped=True)
            >>> difference.is_significant(p=0.04), difference.is_significant(p=0.06)
            (True, False)
        """
        intervals = [self.ci95, self.t95] if self.few else [self.ci95]
        return p <= ALPHA and all(bounds is not None and (bounds[0] > 0 or bounds[1] < 0) for bounds in intervals)


@dataclass(frozen=True)
class Paired:
    """Two models on the same samples.

    Attributes:
        means: What is compared of each model.
        runs: How many runs each has.
        member: Number of the group of each sample, from `members`, (N,).
        grouped: Whether any group is known.
    """

    means: tuple[Mean, Mean]
    runs: tuple[int, int]
    member: NDArray[np.intp]
    grouped: bool


def paired_means(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    groups: Sequence[str | None] | None,
    draws: int = 2000,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Difference:
    """Compare two models by the mean of a score that each sample has.

    Args:
        a: Score of every image in every run of one model, NaN where undefined, (R, N).
        b: Scores of the other, (R', N).
        groups: Patient or slide of each, (N,); None if there are none.
        draws: Number of bootstrap draws, and of permutations.
        seed: Draw d depends on `seed`, d and the number of groups alone.
        bounds: Least and greatest value of the score.
    Raises:
        ValueError: If the shapes do not fit.
    """
    if a.ndim != 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"Expected scores (R, N) of both, but got {a.shape} and {b.shape}.")
    member, grouped = members(groups, a.shape[1])
    one, other = (partial(_mean_of_images, scores) for scores in (a, b))
    tested = permutation_of_means(a, b, member, draws, seed)
    return difference_of(Paired((one, other), (len(a), len(b)), member, grouped), tested, draws, seed, bounds=bounds)


def paired_measures(
    a: Sequence[Measure],
    b: Sequence[Measure],
    metric: str,
    groups: Sequence[str | None],
    tested: tuple[float, float],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Difference:
    """Compare two models by a metric of whatever is measured under weights of the samples.

    Args:
        a: Measures of every run of one model.
        b: Measures of the other.
        metric: Name of what is compared among that which is measured.
        groups: Patient or slide of each sample; None where it is not known.
        tested: The observed difference and its p.
        bounds: Least and greatest value of the metric.
    """
    member, grouped = members(groups, len(groups))
    one, other = (partial(_mean_of_measures, measures, metric) for measures in (a, b))
    return difference_of(Paired((one, other), (len(a), len(b)), member, grouped), tested, bounds=bounds)


def difference_of(
    pair: Paired,
    tested: tuple[float, float],
    draws: int = 2000,
    seed: int = 0,
    biased: bool = False,
    mcnemar_p: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Difference:
    """The intervals of a difference that was tested.

    Args:
        pair: The two models and their samples.
        tested: The observed difference and its p.
        draws: Number of bootstrap draws.
        seed: Draw d depends on `seed`, d and the number of groups alone.
        biased: Noise can only raise the metric.
        mcnemar_p: As `Difference` holds it.
        bounds: Least and greatest value of the metric.
    """
    observed, p = tested
    n_groups = int(pair.member.max(initial=-1)) + 1
    chosen = [drawn_runs(count, draws, seed) for count in pair.runs]
    drawn = np.full(draws, np.nan)
    for block, weights in drawn_weights(pair.member, draws, seed):
        one, other = (mean(weights, of[block]) for mean, of in zip(pair.means, chosen, strict=True))
        drawn[block] = one - other
    few = n_groups > 1 and any(2 <= count < FEW_GROUPS for count in (n_groups, *pair.runs))
    defined = drawn[~np.isnan(drawn)]
    t95, span = None, bounds[1] - bounds[0]
    if few and len(defined):
        centre = float(defined.mean()) if biased else observed
        t95 = t_interval(centre, _variances(pair, float(defined.var())), -span, span)
    return Difference(
        difference=observed,
        ci95=quantiles(drawn, n_groups, seed),
        p=p if n_groups > 1 and not np.isnan(observed) else None,
        mcnemar_p=mcnemar_p,
        n_groups=n_groups,
        grouped=pair.grouped,
        t95=t95,
        left_out=draws - len(defined) if n_groups > 1 else 0,
        few=few,
    )


def _variances(pair: Paired, drawn: float) -> list[tuple[float, int]]:
    """Variance of the difference over groups and over runs, each with its degrees of freedom.

    Args:
        pair: The two models and their samples.
        drawn: Variance of the draws, of groups and runs together.
    """
    means, runs, member = pair.means, pair.runs, pair.member
    n_groups = int(member.max()) + 1
    each = [mean(np.ones((count, len(member))), np.eye(count)) for mean, count in zip(means, runs, strict=True)]
    spreads = [each[0] - each[1]] if runs[0] == runs[1] else each
    over_runs = [(float(v.var(ddof=1)) / len(v), len(v) - 1) for v in spreads if len(v) > 1]
    if n_groups >= FEW_GROUPS:  # to leave each out would take as many passes as there are groups
        return [(max(0.0, drawn - sum(part for part, _ in over_runs)), n_groups - 1), *over_runs]
    weights = without_each(member)
    one, other = (
        mean(weights, np.full((len(weights), count), 1 / count)) for mean, count in zip(means, runs, strict=True)
    )
    return [(jackknife_variance((one - other)[1:]), n_groups - 1), *over_runs]


def _mean_of_measures(
    measures: Sequence[Measure], metric: str, weights: NDArray[np.float64], runs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over runs of a metric of each: (d,)."""
    total = np.zeros(len(weights))
    for measure, share in zip(measures, runs.T, strict=True):
        total += measure(weights)[metric] * share
    return total


def _mean_of_images(
    scores: NDArray[np.floating], weights: NDArray[np.float64], runs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over runs of the mean over the images that are defined: scores (R, N) -> (d,)."""
    with np.errstate(invalid="ignore"):
        means = (weights @ np.nan_to_num(scores).T) / (weights @ (~np.isnan(scores)).T.astype(np.float64))
    mean: NDArray[np.float64] = (means * runs).sum(axis=1)
    return mean


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, in the order given; NaN is no test: it stays, and does not count.

    Source: Holm 1979.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.array(p, float)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]  # NaN comes last
    steps = values[order] * (len(order) - np.arange(len(order)))
    values[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in values]
