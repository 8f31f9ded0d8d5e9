"""Robustness index (RI) and its margin-aware form (MaRI): which of class and site the neighbours share.

Source: Kömen et al. 2025, arXiv 2507.17845, for RI; the package croma 1.0.1 (arXiv 2607.25497) for MaRI.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eva_core.evaluation.site_bias import vote
from eva_core.statistics.intervals import Measure
from eva_vision.robustness.typed_neighbours import Labels, Neighbours


@dataclass(frozen=True)
class Scope:
    """Images among which neighbours are looked for.

    Attributes:
        rows: Which images of the dataset these are, (n,).
        labels: Their labels.
        near: Their neighbours.
    """

    rows: NDArray[np.intp]
    labels: Labels
    near: Neighbours


@dataclass(frozen=True)
class Evidence:
    """What the k nearest neighbours of each image say, the scopes one after the other.

    Attributes:
        so: Weight of neighbours of the same class at another site, (n,).
        os: Weight of neighbours of another class at the same site, (n,).
    """

    so: NDArray[np.float64]
    os: NDArray[np.float64]

    @property
    def value(self) -> float | None:
        """SO / (SO + OS) over all images; None where no image has such a neighbour."""
        total = float(self.so.sum() + self.os.sum())
        return float(self.so.sum()) / total if total else None

    @property
    def support(self) -> float:
        """Share of the images with such a neighbour."""
        return float((self.so + self.os > 0).mean())

    def measure(self, name: str) -> Measure:
        """The index under weights of the images, NaN where there is no evidence."""

        def weighed(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            so, os = weights @ self.so, weights @ self.os
            with np.errstate(invalid="ignore"):
                return {name: so / (so + os)}

        return weighed


def best_k(scopes: Sequence[Scope], ks: Sequence[int]) -> int:
    """The number of neighbours whose majority predicts the class best, the smallest of equals.

    Args:
        scopes: With `max(ks)` neighbours.
        ks: Candidates; those that are fewer than the images of every scope are tried.
    """
    tried = [k for k in ks if k < min(len(scope.rows) for scope in scopes)] or [min(ks)]
    scores = {k: float(np.mean([class_accuracy(scope, k) for scope in scopes])) for k in tried}
    return max(tried, key=lambda k: (scores[k], -k))


def class_accuracy(scope: Scope, k: int) -> float:
    """Balanced accuracy of the class by the majority of k neighbours."""
    return vote(torch.from_numpy(scope.near.rows[:, :k]), torch.from_numpy(scope.labels.classes))


def site_accuracy(scope: Scope, k: int) -> float:
    """Balanced accuracy of the site by the majority of the same neighbours."""
    return vote(torch.from_numpy(scope.near.rows[:, :k]), torch.from_numpy(scope.labels.sites))


def counted(scopes: Sequence[Scope], k: int) -> Evidence:
    """Count the neighbours of each kind among the k nearest, as RI does."""
    typed = [_typed(scope, k) for scope in scopes]
    return Evidence(*(np.concatenate([kinds[i].sum(1).astype(np.float64) for kinds in typed]) for i in (0, 1)))


def weighed(scopes: Sequence[Scope], k: int) -> tuple[Evidence, float | None]:
    """Weigh the neighbours of each kind by exp(-distance / tau), as MaRI does.

    Returns:
        The evidence, and tau: the median distance of all such neighbours. None where there are none, or where half of
        them are copies, at distance 0; then each counts as 1.
    """
    typed = [_typed(scope, k) for scope in scopes]
    distances = np.concatenate([s.near.distances[:, :k][so | os] for s, (so, os) in zip(scopes, typed, strict=True)])
    tau = float(np.median(distances)) if len(distances) else 0.0
    if tau <= 0:
        return counted(scopes, k), None
    weights = [np.exp(-scope.near.distances[:, :k] / tau) for scope in scopes]
    parts = [[(w * kind).sum(1) for kind in kinds] for w, kinds in zip(weights, typed, strict=True)]
    return Evidence(*(np.concatenate([part[i] for part in parts]) for i in (0, 1))), tau


def _typed(scope: Scope, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each of the k nearest is SO, and whether it is OS, (n, k) both."""
    near, labels = scope.near.rows[:, :k], scope.labels
    real = near >= 0
    same_class = labels.classes[near] == labels.classes[:, None]
    same_site = labels.sites[near] == labels.sites[:, None]
    return real & same_class & ~same_site, real & ~same_class & same_site
