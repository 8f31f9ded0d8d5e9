"""Places by UMAP, where the extra is installed."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import svds

NEIGHBOURS, COMPONENTS, EPOCHS = 15, 50, 200
"""Neighbours of a point; principal components that it looks at; rounds of the layout."""


def installed() -> bool:
    """Whether `umap-learn` is here; it is not imported."""
    return find_spec("umap") is not None


def umap_places(x: np.ndarray) -> np.ndarray:
    """Places of embeddings on a plane by UMAP (McInnes et al. 2018), float (N, 2): always the same ones.

    Neighbours are exact, among the first `COMPONENTS` principal components.

    Args:
        x: Embeddings, float32 (N, D), with N above 3; all pairs are compared, so at most a few thousand.
    """
    with warnings.catch_warnings(), _threads_as_before():
        warnings.simplefilter("ignore")  # of threads, and of a graph in parts
        umap = importlib.import_module("umap")
        _keep_compiled(umap.umap_)
        x = _reduced(x)
        near, distances = _neighbours(x, min(NEIGHBOURS, len(x) - 1))
        layout = umap.UMAP(
            n_neighbors=near.shape[1],
            n_epochs=EPOCHS,
            precomputed_knn=(near, distances, None),  # its own search takes four seconds to compile
            random_state=0,
            n_jobs=1,
        )
        places: np.ndarray = layout.fit_transform(x)
    return places


@contextlib.contextmanager
def _threads_as_before() -> Iterator[None]:
    """Undo what numba does to torch's number of threads, by which the last digits of later scores are rounded."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_compiled(module: Any) -> None:
    """Have numba keep on disk what it compiles: five seconds, which every process would spend again."""
    for name in ("smooth_knn_dist", "compute_membership_strengths"):
        with contextlib.suppress(Exception):  # no folder that can be written, or another version of either
            getattr(module, name).enable_caching()


def _reduced(x: np.ndarray) -> np.ndarray:
    """The first principal components, (N, D) -> (N, at most `COMPONENTS`); x itself where it has no more."""
    x = x - x.mean(0)
    if min(x.shape) <= COMPONENTS:
        return x
    u, s, _ = svds(x, k=COMPONENTS, v0=np.ones(min(x.shape), x.dtype))
    return np.ascontiguousarray(u * s, np.float32)


def _neighbours(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each point, itself first, and how far they are, (N, k) each."""
    squares = (x**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))
    np.fill_diagonal(distances, -1)  # a copy is no nearer than the point itself
    near = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return near, np.maximum(np.take_along_axis(distances, near, 1), 0)
