"""Places by UMAP: neighbours stay neighbours, twice the same, soon made."""

import time

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_limits

from eva_core.classification.gradient_head import threads
from eva_core.reports.embedding_map import POINTS
from eva_core.reports.umap_layout import installed, umap_places


def clusters(n: int, dim: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    of = np.arange(n) % classes
    x = 4 * np.eye(classes, dim) + np.zeros((1, dim))
    return (x[of] + np.random.default_rng(0).standard_normal((n, dim)) * 0.7).astype(np.float32), of


def test_it_is_part_of_the_test_extra():
    assert installed()


def test_neighbours_stay_neighbours_and_places_stay():
    x, of = clusters(300, 64)
    places = umap_places(x)
    assert places.shape == (300, 2)
    assert trustworthiness(x, places, n_neighbors=10) > 0.85
    far = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(far, np.inf)
    assert (of[far.argmin(1)] == of).mean() > 0.95
    assert np.array_equal(places, umap_places(x))


@pytest.mark.parametrize("x", [np.ones((20, 6), np.float32), clusters(17, 3)[0], clusters(4, 200)[0]])
def test_copies_and_few_points_have_places(x: np.ndarray):
    assert np.isfinite(umap_places(x)).all()


def test_a_full_map_is_soon_laid_out():
    x, _ = clusters(POINTS, 1536)
    with threadpool_limits(1):  # threads that wait for each other count as well
        umap_places(x[:100])  # numba compiles once on a machine
        began = time.process_time()
        umap_places(x)
        assert time.process_time() - began < 3


def test_torch_has_as_many_threads_after_it_as_before():
    """Else the scores that a process computes next are rounded otherwise, and a fork of it hangs."""
    with threads(1):
        umap_places(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
        assert torch.get_num_threads() == 1
