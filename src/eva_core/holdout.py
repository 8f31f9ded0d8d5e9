"""Parts of the training split: a hold-out made by group, so that selection never sees what is reported; few shots."""

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

NEAR = 0.98
"""Correlation of two 8 x 8 grey thumbnails from which two images count as near-duplicates."""


def near_duplicates(signatures: np.ndarray) -> np.ndarray:
    """Clusters of images that look alike: thumbnails (N, 64) -> cluster numbers (N,), by single linkage."""
    x = signatures - signatures.mean(1, keepdims=True)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    pairs = cKDTree(x).query_pairs(np.sqrt(2 - 2 * NEAR), output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(x), len(x)))
    return connected_components(links, directed=False)[1]


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
