"""Parts of the training split: a hold-out made by group, so that selection never sees what is reported; few shots."""

import numpy as np
import torch
from torch import Tensor

NEAR = 0.98
"""Correlation of two 8 x 8 grey thumbnails from which two images count as near-duplicates."""
_ROWS = 256  # of the similarity matrix at a time


def near_duplicates(signatures: np.ndarray) -> np.ndarray:
    """Clusters of images that look alike: thumbnails (N, 64) -> cluster numbers (N,), by single linkage.

    Memory grows with the images, not with their pairs: a thousand blank patches are a million near-duplicates.
    """
    x = signatures - signatures.mean(1, keepdims=True)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    blank = np.full(x.shape[1], x.shape[1] ** -0.5, x.dtype)  # orthogonal to all others: blank images are alike
    x = np.where(norm > 1e-6, x / np.maximum(norm, 1e-6), blank)
    parent = np.arange(len(x))
    for start in range(0, len(x), _ROWS):
        alike = x[start : start + _ROWS] @ x.T >= NEAR  # (rows, N)
        for row in np.flatnonzero(alike.sum(1) > 1):
            roots = np.unique(_roots(parent, np.flatnonzero(alike[row])))
            parent[roots] = roots[0]
        parent = _roots(parent, parent)
    return np.unique(parent, return_inverse=True)[1]


def _roots(parent: np.ndarray, members: np.ndarray) -> np.ndarray:
    while not np.array_equal(above := parent[members], members):
        members = above
    return members


def hold_out(targets: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose whole groups until each class has about `share` of its samples held out.

    Groups are visited in an order drawn from the seed, large ones first, and taken where that brings the held-out class
    counts nearer to the wanted ones.

    Args:
        targets: Class of each training sample, (N,).
        groups: Group of each, (N,), any hashable labels.
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
        if (
            np.square((held + counts[g] - wanted) / np.maximum(wanted, 1)).sum()
            < np.square((held - wanted) / np.maximum(wanted, 1)).sum()
        ):
            held += counts[g]
            chosen[g] = True
    return chosen[group]


def few(targets: Tensor, shots: int, seed: int) -> Tensor:
    """Draw `shots` samples of each class, without replacement: targets (N,) -> rows, ascending.

    A class with fewer samples gives all that it has.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    drawn = [order[targets[order] == label][:shots] for label in targets.unique()]
    return torch.cat(drawn).sort().values
