"""Parts of the training split: a hold-out made by group, so that selection never sees what is reported; few shots."""

import numpy as np
import torch
from torch import Tensor

from eva_core.evaluation.turned_copies import turned_copies

NEAR = 0.98
"""Correlation of two 8 x 8 grey thumbnails from which two images count as near-duplicates."""
_ROWS = 256  # of the similarity matrix at a time


def near_duplicates(signatures: np.ndarray) -> np.ndarray:
    """Clusters of images that look alike, turned or not: thumbnails (N, S * S) -> cluster numbers (N,).

    By single linkage. Memory grows with the images, not with their pairs: a thousand blank patches are a million
    near-duplicates.
    """
    x = _coarse(signatures)
    x = x - x.mean(1, keepdims=True)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    blank = np.full(x.shape[1], x.shape[1] ** -0.5, x.dtype)  # orthogonal to all others: blank images are alike
    x = np.where(norm > 1e-6, x / np.maximum(norm, 1e-6), blank)
    parent = np.arange(len(x))
    for start in range(0, len(x), _ROWS):
        alike = x[start : start + _ROWS] @ x.T >= NEAR  # (rows, N)
        for row in np.flatnonzero(alike.sum(1) > 1):
            _join(parent, np.flatnonzero(alike[row]))
        parent = _roots(parent, parent)
    for pair in turned_copies(signatures):
        _join(parent, pair)
    return np.unique(_roots(parent, parent), return_inverse=True)[1]


def _coarse(signatures: np.ndarray) -> np.ndarray:
    """Thumbnails (N, S * S) -> (N, 64), by means."""
    side = round(signatures.shape[1] ** 0.5)
    means: np.ndarray = signatures.astype(np.float32).reshape(-1, 8, side // 8, 8, side // 8).mean((2, 4))
    return means.reshape(-1, 64)


def _join(parent: np.ndarray, members: np.ndarray) -> None:
    roots = np.unique(_roots(parent, members))
    parent[roots] = roots[0]


def _roots(parent: np.ndarray, members: np.ndarray) -> np.ndarray:
    while not np.array_equal(above := parent[members], members):
        members = above
    return members


def hold_out(targets: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose whole groups until each class has about `share` of its samples held out.

    Groups are visited in an order drawn from the seed, large ones first, and taken where that brings the held-out class
    counts nearer to the wanted ones. Then, where a class of two or more groups has none on one side, the group that
    costs least goes there, as long as no other class loses its last.

    Args:
        targets: Class of each training sample, (N,).
        groups: Group of each, (N,), any hashable labels.
        share: Share to hold out, between 0 and 1.
        seed: Seed of the order.
    Returns:
        True where held out, (N,).
    """
    _, group = np.unique(groups, return_inverse=True)
    classes = int(targets.max()) + 1
    counts = np.zeros((group.max() + 1, classes))
    np.add.at(counts, (group, targets), 1)
    wanted = counts.sum(0) * share
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    held = np.zeros(classes)
    chosen = np.zeros(len(counts), bool)
    for g in order:
        if _cost(held + counts[g], wanted) < _cost(held, wanted):
            held += counts[g]
            chosen[g] = True
    _spread(counts, wanted, order, chosen)
    return chosen[group]


def _cost(held: np.ndarray, wanted: np.ndarray) -> float:
    """How far held-out counts are from the wanted ones, both (C,)."""
    return float(np.square((held - wanted) / np.maximum(wanted, 1)).sum())


def _spread(counts: np.ndarray, wanted: np.ndarray, order: np.ndarray, chosen: np.ndarray) -> None:
    """Move groups until each class of two or more is on both sides, where that is possible, in place.

    Args:
        counts: Samples of each class in each group, (G, C).
        wanted: Samples of each class that should be held out, (C,).
        order: In which groups are tried.
        chosen: Groups that are held out, (G,).
    """
    several = np.flatnonzero((counts > 0).sum(0) > 1)
    for label in several[np.argsort((counts[:, several] > 0).sum(0), kind="stable")]:  # the rarest has least choice
        for side in (True, False):  # held out, and not
            if counts[chosen == side, label].any():
                continue
            costs = {}
            for g in order[counts[order, label] > 0]:
                chosen[g] = side
                left = counts[chosen != side].sum(0)
                before = left + counts[g]
                if not ((before > 0) & (left == 0))[several].any():
                    costs[g] = _cost(counts[chosen].sum(0), wanted)
                chosen[g] = not side
            if costs:
                chosen[min(costs, key=costs.__getitem__)] = side


def divide_single_groups(held: np.ndarray, targets: np.ndarray, groups: np.ndarray, share: float) -> list[int]:
    """Hold out samples of the classes that one group alone has, in place: else nothing could be chosen by them.

    Args:
        held: Whether each sample is held out, as `hold_out` gives it, (N,).
        targets: Class of each sample, (N,).
        groups: Group of each sample, (N,).
        share: Share to hold out.
    Returns:
        The classes whose group is now on both sides.
    """
    divided = []
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        if len(rows) > 1 and len(np.unique(groups[rows])) == 1:
            held[rows] = False
            step = max(2, round(1 / share))
            held[rows[step - 1 :: step] if len(rows) >= step else rows[-1:]] = True
            divided.append(int(label))
    return divided


def few(targets: Tensor, shots: int, seed: int) -> Tensor:
    """Draw `shots` samples of each class, without replacement: targets (N,) -> rows, ascending.

    A class with fewer samples gives all that it has. Rows are drawn on the CPU, and lie where the targets do.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    shuffled = targets.cpu()[order]
    drawn = [order[shuffled == label][:shots] for label in shuffled.unique()]
    return torch.cat(drawn).sort().values.to(targets.device)
