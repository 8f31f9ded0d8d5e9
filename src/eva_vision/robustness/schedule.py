"""Training sets in which class and site are ever more correlated, for datasets that come without such a schedule."""

import numpy as np
from numpy.typing import NDArray

from eva_vision.robustness.contracts import Schedule
from eva_vision.robustness.typed_neighbours import Labels

STEPS = 5
"""Training sets, from no correlation of class and site to one site a class."""
_VALIDATION = 8
_LEAST = 4  # images of a cell in the balanced set


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Correlation of site and class in a table of images (sites, classes): 0 for none, 1 where one tells the other.

    Examples:
        >>> cramers_v(np.array([[5, 5], [5, 5]])), cramers_v(np.array([[9, 0], [0, 9]]))
        (0.0, 1.0)
    """
    table = counts[counts.any(1)][:, counts.any(0)].astype(np.float64)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    chi2 = float((np.square(table - expected) / expected).sum())
    return float(np.sqrt(chi2 / table.sum() / max(1, min(table.shape) - 1)))


def groups_in_cells(labels: Labels) -> NDArray[np.int64]:
    """How many groups each site has of each class, (sites, classes)."""
    found = np.unique(np.stack([labels.sites, labels.classes, labels.groups]), axis=1)
    counts = np.zeros((labels.sites.max() + 1, labels.classes.max() + 1), np.int64)
    np.add.at(counts, (found[0], found[1]), 1)
    return counts


def usual(labels: Labels) -> Schedule | None:
    """A schedule for any dataset: each class moves step by step to a site of its own, the totals stay.

    A third of the groups of each cell of site and class are held out. Sites that lack a class take no part, nor do
    more sites than there are classes: those with the smallest cells do not.

    Returns:
        None where fewer than two sites have two groups of each of two classes, or too few images.
    """
    groups = groups_in_cells(labels)
    classes = np.flatnonzero((groups > 1).sum(0) > 1)
    sites = np.flatnonzero((groups[:, classes] > 1).all(1))
    if len(classes) < 2 or len(sites) < 2:
        return None
    held = np.maximum(1, groups // 3)
    capacity = _capacity(labels, held)
    most = capacity[np.ix_(sites, classes)].min(1)
    sites = np.sort(sites[np.argsort(-most, kind="stable")][: len(classes)])
    cells = capacity[np.ix_(sites, classes)]
    home = np.arange(len(classes)) % len(sites)
    total = min(int(cells[home, np.arange(len(classes))].min()), int(cells.min()) * len(sites))
    share = total // len(sites)  # of a class at each site, where they are balanced
    if share < _LEAST:
        return None
    splits = np.zeros((STEPS, *groups.shape), np.int64)
    for step in range(STEPS):
        elsewhere = round(share * (1 - step / (STEPS - 1)))
        splits[step][np.ix_(sites, classes)] = elsewhere
        splits[step][sites[home], classes] = share * len(sites) - elsewhere * (len(sites) - 1)
    return Schedule(splits, groups - held, _VALIDATION)


def _capacity(labels: Labels, held: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images of each cell that may teach whichever groups are held out, less those that choose C."""
    capacity = np.zeros_like(held)
    for site, label in np.argwhere(groups_in_cells(labels) > 0):
        rows = (labels.sites == site) & (labels.classes == label)
        sizes = np.sort(np.unique(labels.groups[rows], return_counts=True)[1])
        capacity[site, label] = sizes[: len(sizes) - held[site, label]].sum() * _VALIDATION // (_VALIDATION + 1)
    return capacity
