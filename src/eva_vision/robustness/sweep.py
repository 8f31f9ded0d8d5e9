"""What a head loses when class and site are correlated in its training set: APD and nIPD.

Probes are fitted on training sets with rising correlation and scored on the same images of held-out groups, and on
images of other sites. Source: PathoROB (Kömen et al. 2025, arXiv 2507.17845) for the average performance drop; the
package croma 1.0.1 for the normalised integrated one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from eva_vision.robustness.contracts import Schedule
from eva_vision.robustness.probe import balanced_accuracy, fit_best
from eva_vision.robustness.schedule import cramers_v
from eva_vision.robustness.typed_neighbours import Labels

SEED = 1000
IN, OUT = "in", "out"
"""Held-out groups of the same sites, and images of other sites."""
_TRIES = 200


@dataclass(frozen=True)
class Divided:
    """Images of one resampling.

    Attributes:
        taught: Images of each site and class that may teach, in the order in which they are taken.
        held: Images of held-out groups, (n,).
    """

    taught: Mapping[tuple[int, int], NDArray[np.intp]]
    held: NDArray[np.intp]


def sweep(
    x: NDArray[np.float32],
    labels: Labels,
    schedule: Schedule,
    resamplings: int,
    others: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, NDArray[np.float64]]:
    """Balanced accuracies of probes by training set and resampling.

    Args:
        x: Embeddings of the images in distribution, (N, D).
        labels: Their labels, with the sites and classes of the schedule.
        schedule: The training sets.
        resamplings: How often slides are drawn.
        others: Embeddings (M, D) and classes (M,) of images of other sites.
        progress: Called with (fits done, all fits).
    Returns:
        `in`, and `out` where there are others, (S, resamplings) each.
    Raises:
        ValueError: The groups cannot be held out as the schedule says.
    """
    classes = schedule.classes
    number = np.full(labels.classes.max() + 1, -1)
    number[classes] = np.arange(len(classes))
    y, embedded = torch.from_numpy(number[labels.classes]), torch.from_numpy(x)
    found = {name: np.zeros((len(schedule.splits), resamplings)) for name in (IN, *([OUT] if others else []))}
    for draw in range(resamplings):
        divided = divide(labels, schedule, np.random.default_rng([SEED, draw]))
        tests = {IN: (embedded[divided.held], y[divided.held])}
        if others:
            tests[OUT] = (torch.from_numpy(others[0]), torch.from_numpy(number[others[1]]))
        for step, counts in enumerate(schedule.splits):
            train, chosen = (_rows(divided, counts, schedule.validation, part) for part in ("train", "choose"))
            probe = fit_best((embedded[train], y[train]), (embedded[chosen], y[chosen]), len(classes))
            for name, (test_x, test_y) in tests.items():
                found[name][step, draw] = balanced_accuracy(probe, test_x, test_y)
            progress(draw * len(schedule.splits) + step + 1, resamplings * len(schedule.splits))
    return found


def divide(labels: Labels, schedule: Schedule, rng: np.random.Generator) -> Divided:
    """Hold groups of each site out at random, so many that each cell keeps what the schedule needs.

    A group that has images of several classes is held out of all of them.
    """
    used = schedule.used
    taught: dict[tuple[int, int], NDArray[np.intp]] = {}
    held: list[NDArray[np.intp]] = []
    for site in schedule.sites:
        rows = np.flatnonzero((labels.sites == site) & used[site][labels.classes])
        order, out = _held_out(labels.of(rows), schedule.kept[site], used[site], rng)
        held.append(rows[np.isin(labels.groups[rows], list(out))])
        rank = {group: place for place, group in enumerate(order)}
        for label in np.flatnonzero(used[site]):
            cell = rows[labels.classes[rows] == label]
            cell = cell[~np.isin(labels.groups[cell], list(out))]
            taught[int(site), int(label)] = cell[np.argsort([rank[g] for g in labels.groups[cell]], kind="stable")]
    return Divided(taught, np.concatenate(held))


def _held_out(
    labels: Labels, kept: NDArray[np.int64], used: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[list[int], set[int]]:
    """The groups of one site in a random order, and those that are held out."""
    of_group = {group: np.unique(labels.classes[labels.groups == group]) for group in np.unique(labels.groups)}
    all_groups = np.zeros(len(kept), np.int64)
    for present in of_group.values():
        all_groups[present] += 1
    for _ in range(_TRIES):
        order, left, out = rng.permutation(list(of_group)).tolist(), all_groups.copy(), set()
        for group in order:
            if (left[of_group[group]] > kept[of_group[group]]).all():
                left[of_group[group]] -= 1
                out.add(group)
        if (left < all_groups)[used].all():
            return order, out
    raise ValueError("Expected groups of each class that can be held out")


def _rows(divided: Divided, counts: NDArray[np.int64], validation: int, part: str) -> Tensor:
    """Images of one training set, or those that choose C for it."""
    rows = []
    for cell, taught in divided.taught.items():
        n = int(counts[cell])
        if n + n // validation > len(taught):
            raise ValueError(f"Expected {n + n // validation} images of a class at a site, but got {len(taught)}")
        rows.append(taught[:n] if part == "train" else taught[n : n + n // validation])
    return torch.from_numpy(np.concatenate(rows))


def apd(accuracies: NDArray[np.float64]) -> tuple[float, list[float] | None]:
    """Average performance drop of accuracies (S, resamplings), and its 95 % t-interval over the resamplings."""
    drops = (accuracies[1:] / accuracies[0]).mean(0) - 1
    n = len(drops)
    half = float(stdtrit(n - 1, 0.975) * drops.std(ddof=1) / n**0.5) if n > 1 else None
    value = float(drops.mean())
    return value, None if half is None else [value - half, value + half]


def nipd(accuracies: NDArray[np.float64], splits: NDArray[np.int64]) -> float | None:
    """Normalised integrated performance degradation: area under the share of skill lost over Cramér's V.

    Args:
        accuracies: (S, resamplings).
        splits: Images of each training set, (S, sites, classes).
    Returns:
        -0.5 for a linear fall to chance; None where the balanced set teaches nothing, or V does not run from 0 to 1.
    """
    v = np.array([cramers_v(counts) for counts in splits])
    mean, chance = accuracies.mean(1), 1 / int(splits[0].any(0).sum())
    if mean[0] <= chance or not np.isclose(v[[0, -1]], (0, 1)).all():
        return None
    lost = (mean - mean[0]) / (mean[0] - chance)
    return float((np.diff(v) * (lost[1:] + lost[:-1]) / 2).sum())
