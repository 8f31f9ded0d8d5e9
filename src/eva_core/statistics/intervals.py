"""Confidence intervals of metrics.

The interval is the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
What is drawn with replacement is groups, patients or slides, with all their images: the cluster bootstrap (Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Field and Welsh, Bootstrapping clustered data,
JRSS B 69, 2007), for the images of a patient are not independent. Each draw also picks one of the runs, so the
interval speaks of one run on new patients, not of the mean over runs. A drawn image is an image with an integer weight,
so a draw needs no copy of the scores. Draws in which a metric is undefined, as a class was not drawn, are left out and
counted; where fewer than a fifth are left, or none but the groups as they are, there is no interval.

Where a dataset has no groups, images are drawn, and the interval is labelled optimistic: images of a patient that we do
not know of make it too narrow. The percentile bootstrap is too narrow for few groups as well, so below 20 of them a
t-interval is given too: value +- t(G - 1) * standard error, both of the run-averaged metric, the error by the
delete-one-group jackknife (Efron and Tibshirani, chapter 11). One group says nothing of others: no interval.

Noise can only raise a calibration error, and resampling adds noise to noise: percentiles of its draws lie too high. So
each draw is reflected at the value of its run, 2 * value - draw, which takes the noise off twice: the basic bootstrap
(Davison and Hinkley, section 5.2). Where the gaps that it sums are known, its interval is that of `calibration`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from eva_core.contracts.metric import Metric
from eva_core.statistics.calibration import Gaps, calibration_interval

_USUAL = Metric()
Measure = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]
"""What is measured of one run: weights of the samples (d, N) -> values (d,) by name, NaN where undefined."""

FEW_GROUPS = 20
FEWEST = 0.2
"""Share of the draws that must be left for an interval."""
_GAP = "gap "
_BLOCK = 2**21  # weights drawn at a time, 16 MB


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of one split.

    Attributes:
        kind: What was drawn: groups, or images where no groups are known.
        n_groups: How many of them there are; with `image-level, optimistic`, the number of images.
        ci95: Percentile bootstrap [lo, hi] by metric, None where undefined.
        t95: t-interval [lo, hi] by metric over the same groups; None unless there are 2 to 19.
        draws: Bootstrap values (draws,) by metric, NaN where undefined. Draw d takes the same groups for every model.
        left_out: In how many draws each metric is undefined; 0 for a single group, of which nothing is drawn.
    """

    kind: Literal["group", "image-level, optimistic"]
    n_groups: int
    ci95: dict[str, list[float] | None]
    t95: dict[str, list[float] | None] | None
    draws: dict[str, NDArray[np.float64]] = field(compare=False)
    left_out: dict[str, int] = field(default_factory=dict)


def interval(
    measures: Sequence[Measure],
    n: int,
    groups: Sequence[str | None] | None,
    draws: int = 2000,
    seed: int = 0,
    gaps: Mapping[str, Sequence[Gaps]] = MappingProxyType({}),
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> Intervals:
    """Intervals of all metrics.

    Args:
        measures: What is measured of each run, with the same names in all.
        n: Number of samples.
        groups: Patient or slide of each image, (n,); an image with None is a group of its own; None if there are none.
        draws: Number of bootstrap draws.
        seed: Draw d depends on `seed`, d and the number of groups alone.
        gaps: What each run of a calibration error sums, by metric; then its interval is not of the draws.
        metrics: Facts by name, which hold for `name/class` too; between 0 and 1, higher is better, unless given.

    Returns:
        The intervals, with the keys of the measures.

    Raises:
        ValueError: If there is no run, or the groups are not as many as the samples.
    """
    if not measures:
        raise ValueError("Expected measures of at least one run, but got none.")
    if groups is not None and len(groups) != n:
        raise ValueError(f"Expected one group for each of {n} samples, but got {len(groups)}.")
    member, grouped = members(groups, n)
    n_groups = int(member.max(initial=-1)) + 1
    values = bootstrap(_with_gaps(measures, gaps), member, draws, seed, metrics)
    drawn = {name: [values.pop(one) for one in _gap_names(name, values)] for name in gaps}
    ci95 = {name: quantiles(of_draws, n_groups, seed) for name, of_draws in values.items()}
    for name, of_runs in gaps.items() if n_groups > 1 else ():
        seen = np.concatenate([gap(np.ones((1, n))) for gap in of_runs])
        ci95[name] = calibration_interval(seen, np.stack(drawn[name], axis=1), _runs(len(measures), draws, seed))
    for name, bounds in ci95.items():
        low, high = facts_of(name, metrics).bounds  # what is reflected may fall beyond
        ci95[name] = None if bounds is None else [min(max(bound, low), high) for bound in bounds]
    return Intervals(
        kind="group" if grouped else "image-level, optimistic",
        n_groups=n_groups,
        ci95=ci95,
        t95=_jackknife_t(measures, member, n_groups, values, metrics) if 2 <= n_groups < FEW_GROUPS else None,
        draws=values,
        left_out={name: int(np.isnan(drawn).sum()) if n_groups > 1 else 0 for name, drawn in values.items()},
    )


def facts_of(name: str, metrics: Mapping[str, Metric]) -> Metric:
    """Facts of a metric, or of the same of one class: `recall/AC`."""
    return metrics.get(name.partition("/")[0], _USUAL)


def _with_gaps(measures: Sequence[Measure], gaps: Mapping[str, Sequence[Gaps]]) -> Sequence[Measure]:
    """Measures that give the gaps too, under names of their own, so that weights are drawn once."""

    def both(weights: NDArray[np.float64], run: int) -> dict[str, NDArray[np.float64]]:
        values = measures[run](weights)
        for name, of_runs in gaps.items():
            values = {**values, **{f"{_GAP}{bin} {name}": gap for bin, gap in enumerate(of_runs[run](weights).T)}}
        return values

    return [partial(both, run=run) for run in range(len(measures))] if gaps else measures


def _gap_names(name: str, values: Mapping[str, object]) -> list[str]:
    """Names of the gaps of one calibration error, in the order of its bins."""
    return [one for one in values if one.startswith(_GAP) and one.split(" ", 2)[2] == name]


def members(groups: Sequence[str | None] | None, n: int) -> tuple[NDArray[np.intp], bool]:
    """Number of the group of each sample (n,), by first appearance, and whether any group is known.

    A sample without a group is a group of its own.

    Examples:
        >>> members(["patient 1", "patient 2", None, "patient 1"], 4)
        (array([0, 1, 2, 0]), True)
    """
    if groups is None or not any(group is not None for group in groups):
        return np.arange(n), False
    numbers: dict[str | int, int] = {}
    member = [numbers.setdefault(i if group is None else group, len(numbers)) for i, group in enumerate(groups)]
    return np.array(member, np.intp), True


def bootstrap(
    measures: Sequence[Measure],
    member: NDArray[np.intp],
    draws: int = 2000,
    seed: int = 0,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> dict[str, NDArray[np.float64]]:
    """Metrics under every draw: values (draws,) by name, NaN where undefined; all NaN for a single group.

    What noise can only raise is reflected at the value of its run.

    Args:
        measures: What is measured of each run.
        member: Number of the group of each sample, from `members`, (N,).
        draws: Number of draws.
        seed: Draw d depends on `seed`, d and the number of groups alone.
        metrics: Facts by name.
    """
    values = {name: np.full(draws, np.nan) for name in measures[0](np.empty((0, len(member))))}
    runs = _runs(len(measures), draws, seed)
    for run, measure in enumerate(measures):
        for block, weights in drawn_weights(member, draws, seed, np.flatnonzero(runs == run)):
            for name, drawn in measure(weights).items():
                values[name][block] = drawn
        for name in (name for name in values if facts_of(name, metrics).biased):
            values[name][runs == run] = 2 * measure(np.ones((1, len(member))))[name] - values[name][runs == run]
    return values


def _runs(count: int, draws: int, seed: int) -> NDArray[np.intp]:
    """The run that each draw picks, (draws,)."""
    return np.random.default_rng(seed).integers(count, size=draws)


def drawn_runs(count: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Weight of each run in the mean of each draw, (draws, runs): one less than there are, with replacement.

    As many runs have the same ones drawn, so that a difference is of pairs.
    """
    if count == 1:
        return np.ones((draws, 1))
    drawn = np.random.default_rng([seed, 2, count]).integers(count, size=(draws, count - 1))
    shares: NDArray[np.float64] = (drawn[..., None] == np.arange(count)).sum(axis=1) / (count - 1)
    return shares


def drawn_weights(
    member: NDArray[np.intp], draws: int, seed: int, wanted: NDArray[np.intp] | None = None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Numbers of some draws (d,), and the weight of every sample in each of them (d, N); nothing for a single group.

    Args:
        member: Number of the group of each sample, from `members`, (N,).
        draws: How many draws there are.
        seed: Draw d depends on `seed`, d and the number of groups alone.
        wanted: Which draws; all unless given.
    """
    n_groups = int(member.max(initial=-1)) + 1
    wanted = np.arange(draws) if wanted is None else wanted
    size = max(1, _BLOCK // max(1, len(member)))
    for start in range(0, len(wanted) if n_groups > 1 else 0, size):
        block = wanted[start : start + size]
        yield block, np.stack([_weights(seed, draw, n_groups, member) for draw in block])


def _weights(seed: int, draw: int, n_groups: int, member: NDArray[np.intp]) -> NDArray[np.float64]:
    """Number of times that each image occurs, (N,), when as many groups are drawn as there are."""
    # a generator for each draw: draws can be taken run by run, and a paired comparison can repeat them
    drawn = np.random.default_rng([seed, draw]).integers(n_groups, size=n_groups)
    return np.bincount(drawn, minlength=n_groups)[member].astype(np.float64)


def quantiles(values: NDArray[np.float64], n_groups: int | None = None, seed: int = 0) -> list[float] | None:
    """95 % percentile interval of the draws that are defined; None for too few, or none but the groups as they are.

    Args:
        values: From `bootstrap`, (draws,), NaN where undefined.
        n_groups: How many groups were drawn, with `seed`; None where that is not known.
        seed: What the draws were made with.
    """
    defined = ~np.isnan(values)
    if not defined.any() or defined.sum() < FEWEST * len(values):
        return None
    # of four groups and more that each have a class of their own, a fifth of the draws is never left
    if n_groups is not None and n_groups < 4 and not (defined & ~_complete(n_groups, len(values), seed)).any():
        return None
    return [float(q) for q in np.quantile(values[defined], [0.025, 0.975])]


@cache  # the same for every metric of a result
def _complete(n_groups: int, draws: int, seed: int) -> NDArray[np.bool_]:
    """Draws that have every group once, (draws,)."""
    return np.array([(weights == 1).all() for _, w in drawn_weights(np.arange(n_groups), draws, seed) for weights in w])


def filled(draws: NDArray[np.floating], seed: int = 0) -> NDArray[np.floating] | None:
    """Draws of one task with those left out replaced by others of the same task, the same for all of its scores.

    Tasks are drawn by themselves, so what one lacks must not cost the draws of the others.

    Args:
        draws: (K, draws), NaN where undefined.
        seed: Chooses which of the others replace them.

    Returns:
        The same shape without NaN; None where too few draws are defined for all K.
    """
    defined = np.isfinite(draws).all(axis=0)
    if not defined.any() or defined.sum() < FEWEST * len(defined):
        return None
    taken = np.arange(len(defined))
    taken[~defined] = np.random.default_rng(seed).choice(taken[defined], size=int((~defined).sum()))
    return draws[:, taken]


def _jackknife_t(
    measures: Sequence[Measure],
    member: NDArray[np.intp],
    n_groups: int,
    draws: dict[str, NDArray[np.float64]],
    metrics: Mapping[str, Metric],
) -> dict[str, list[float] | None]:
    by_run = [measure(without_each(member)) for measure in measures]
    result: dict[str, list[float] | None] = {}
    for name in by_run[0]:
        value, *left_out = np.mean([values[name] for values in by_run], axis=0)
        facts = facts_of(name, metrics)
        if facts.biased:
            value = draws[name].mean()  # less the bias
        result[name] = t_interval(value, [(jackknife_variance(np.array(left_out)), n_groups - 1)], *facts.bounds)
    return result


def without_each(member: NDArray[np.intp]) -> NDArray[np.float64]:
    """Weights of the samples with every group, then without each of them: (G + 1, N)."""
    n_groups = int(member.max(initial=-1)) + 1
    return np.concatenate([np.ones((1, len(member))), np.arange(n_groups)[:, None] != member])


def jackknife_variance(left_out: NDArray[np.float64]) -> float:
    """Variance of a value over groups, from its values without each of them, (G,)."""
    # NaN where some group alone has a class: what its absence would do is not known
    return float((len(left_out) - 1) * np.var(left_out))


def t_interval(
    value: float, parts: Sequence[tuple[float, int]], low: float = -np.inf, high: float = np.inf
) -> list[float] | None:
    """95 % t-interval of a value from the parts of its variance; None where one is not defined.

    Args:
        value: Its centre.
        parts: Variances that add up, each with its degrees of freedom; together they have those of Satterthwaite 1946.
        low: Least value of a bound.
        high: Greatest value of a bound.

    Examples:
        >>> low, high = t_interval(0.8, [(0.02**2, 9)])
        >>> f"{low:.3f} to {high:.3f}"
        '0.755 to 0.845'
    """
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / n for part, n in parts) if variance else min(n for _, n in parts)
    half = float(stdtrit(freedom, 0.975)) * np.sqrt(variance)
    bounds = np.clip([value - half, value + half], low, high)
    return None if np.isnan(bounds).any() else [float(bound) for bound in bounds]
