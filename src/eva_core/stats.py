"""Confidence intervals of metrics.

The interval is the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
What is drawn with replacement is groups, patients or slides, with all their images: the cluster bootstrap (Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Field and Welsh, Bootstrapping clustered data,
JRSS B 69, 2007), for the images of a patient are not independent. Each draw also picks one of the runs, so the
interval speaks of one run on new patients, not of the mean over runs. A drawn image is an image with an integer weight,
so a draw needs no copy of the scores. Draws in which a metric is undefined, as a class was not drawn, are left out.

Where a dataset has no groups, images are drawn, and the interval is labelled optimistic: images of a patient that we do
not know of make it too narrow. The percentile bootstrap is too narrow for few groups as well, so below 20 of them a
t-interval is given too: value +- t(G - 1) * standard error, both of the run-averaged metric, the error by the
delete-one-group jackknife (Efron and Tibshirani, chapter 11). One group says nothing of others: no interval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Measure = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]
"""What is measured of one run: weights of the samples (d, N) -> values (d,) by name, NaN where undefined."""

FEW_GROUPS = 20
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
    """

    kind: Literal["group", "image-level, optimistic"]
    n_groups: int
    ci95: dict[str, list[float] | None]
    t95: dict[str, list[float] | None] | None
    draws: dict[str, NDArray[np.float64]] = field(compare=False)


def interval(
    measures: Sequence[Measure],
    n: int,
    groups: Sequence[str | None] | None,
    draws: int = 2000,
    seed: int = 0,
) -> Intervals:
    """Intervals of all metrics.

    Args:
        measures: Of every run, with the same names in each.
        n: Number of samples.
        groups: Patient or slide of each image, (n,); an image with None is a group of its own; None if there are none.
        draws: Bootstrap draws.
        seed: Draw d depends on `seed`, d and the number of groups alone.

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
    values = bootstrap(measures, member, draws, seed)
    few = 2 <= n_groups < FEW_GROUPS
    return Intervals(
        kind="group" if grouped else "image-level, optimistic",
        n_groups=n_groups,
        ci95={name: quantiles(drawn) for name, drawn in values.items()},
        t95=_jackknife_t(measures, member, n_groups) if few else None,
        draws=values,
    )


def members(groups: Sequence[str | None] | None, n: int) -> tuple[NDArray[np.intp], bool]:
    """Number of the group of each sample (n,), by first appearance, and whether any group is known.

    A sample without a group is a group of its own.
    """
    if groups is None or not any(group is not None for group in groups):
        return np.arange(n), False
    numbers: dict[str | int, int] = {}
    found = [numbers.setdefault(i if group is None else group, len(numbers)) for i, group in enumerate(groups)]
    return np.array(found, np.intp), True


def bootstrap(
    measures: Sequence[Measure], member: NDArray[np.intp], draws: int = 2000, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Metrics under every draw: values (draws,) by name, NaN where undefined; all NaN for a single group.

    Args:
        measures: Of every run.
        member: From `members`, (N,).
    """
    values = {name: np.full(draws, np.nan) for name in measures[0](np.empty((0, len(member))))}
    runs = np.random.default_rng(seed).integers(len(measures), size=draws)
    for run, measure in enumerate(measures):
        for block, weights in drawn_weights(member, draws, seed, np.flatnonzero(runs == run)):
            for name, drawn in measure(weights).items():
                values[name][block] = drawn
    return values


def drawn_weights(
    member: NDArray[np.intp], draws: int, seed: int, wanted: NDArray[np.intp] | None = None
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Numbers of some draws (d,), and the weight of every sample in each of them (d, N); nothing for a single group.

    Args:
        wanted: Which draws; all unless given.
    """
    n_groups = int(member.max(initial=-1)) + 1
    wanted = np.arange(draws) if wanted is None else wanted
    size = max(1, _BLOCK // max(1, len(member)))
    for start in range(0, len(wanted) if n_groups > 1 else 0, size):
        block = wanted[start : start + size]
        yield block, np.stack([_weights(seed, draw, n_groups, member) for draw in block])


def _weights(seed: int, draw: int, n_groups: int, member: NDArray[np.intp]) -> NDArray[np.float64]:
    """How often each image (N,) occurs when as many groups are drawn as there are."""
    # a generator for each draw: draws can be taken run by run, and a paired comparison can repeat them
    drawn = np.random.default_rng([seed, draw]).integers(n_groups, size=n_groups)
    return np.bincount(drawn, minlength=n_groups)[member].astype(np.float64)


def quantiles(values: NDArray[np.float64]) -> list[float] | None:
    """95 % percentile interval of draws, None where all are undefined."""
    defined = values[~np.isnan(values)]
    return [float(q) for q in np.quantile(defined, [0.025, 0.975])] if len(defined) else None


def _jackknife_t(measures: Sequence[Measure], member: NDArray[np.intp], n_groups: int) -> dict[str, list[float] | None]:
    # row 0 has every group, row g + 1 all but group g
    weights = np.concatenate([np.ones((1, len(member))), np.arange(n_groups)[:, None] != member])
    by_run = [measure(weights) for measure in measures]
    quantile = float(stdtrit(n_groups - 1, 0.975))
    result: dict[str, list[float] | None] = {}
    for name in by_run[0]:
        value, *left_out = np.mean([values[name] for values in by_run], axis=0)
        error = np.sqrt((n_groups - 1) * np.var(left_out))
        # NaN where some group alone has a class: what its absence would do is not known
        bounds = np.clip([value - quantile * error, value + quantile * error], 0, 1)
        result[name] = None if np.isnan(bounds).any() else bounds.tolist()
    return result
