"""Places of images among each other, against plain numpy."""

from pathlib import Path

import numpy as np
import pytest

from eva_core.reports import embedding_map as maps
from eva_core.reports.embedding_map import (
    POINTS,
    colouring,
    embedding_map,
    nearest_in_train,
    principal_components,
    spread_out,
)
from eva_core.reports.thumbnails import Thumbnails
from tests.core.reports.conftest import write_store


@pytest.mark.parametrize("shape", [(60, 40), (200, 6), (5, 30), (1, 4), (3, 1)])
def test_components_are_those_of_a_whole_decomposition(shape: tuple[int, int]):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * np.linspace(3, 1, shape[1])
    places, shares = principal_components(x)
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = np.zeros((len(x), 2))
    expected[:, : min(2, len(s))] = (u * s)[:, :2]
    assert np.abs(places) == pytest.approx(np.abs(expected), abs=1e-3)
    if s.any():
        assert shares[: len(s)] == pytest.approx((s**2 / (s**2).sum())[:2], abs=1e-4)


def test_neighbours_are_those_of_all_cosines(tmp_path: Path):
    store = write_store(tmp_path / "s.h5", 300)
    train, rows = store.rows("train"), store.rows("test")[[7, 3, 11]]
    at, cosines = nearest_in_train(store, rows, train, 4)
    x = store.read(np.arange(300)).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    every = x[rows] @ x[train].T
    assert at.tolist() == train[np.argsort(-every, axis=1)[:, :4]].tolist()
    assert cosines == pytest.approx(-np.sort(-every, axis=1)[:, :4], abs=1e-5)
    assert nearest_in_train(store, rows, train[:2], 4)[0].shape == (3, 2)


def test_rare_labels_share_a_colour():
    labels = [f"p{n // 4}" for n in range(100)] + ["p0"]
    found = colouring("group", labels)
    assert len(found["labels"]) == 11
    assert found["labels"][-1] == "15 others"
    assert found["labels"][found["values"][0]] == "p0"
    assert sum(value == 10 for value in found["values"]) == 60
    assert colouring("class", ["b", "a", "b"]) == {"name": "class", "labels": ["a", "b"], "values": [1, 0, 1]}


def test_a_map_is_a_sample_of_many_images(tmp_path: Path):
    store = write_store(tmp_path / "s.h5", 5000)
    rows = store.rows("test")
    found = embedding_map(store, rows, {"site": store.sites[rows].tolist()}, Thumbnails(None, store))
    (pca,) = [one for one in found["projections"] if one["name"] == "PCA"]
    assert len(found["ids"]) == len(pca["points"]) == len(found["colourings"][0]["values"]) == POINTS
    assert np.array(pca["points"]).min() == 0
    assert np.array(pca["points"]).max() == 1000
    assert "1,200 of 1,667 images" in found["note"]
    assert found["tiles"] is not None
    assert spread_out(5, 9).tolist() == [0, 1, 2, 3, 4]


def test_umap_is_beside_pca_and_costs_no_map_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(x: object) -> None:
        raise ImportError("Numba needs NumPy 2.2 or less")

    store = write_store(tmp_path / "s.h5", 120)
    rows, labels = store.rows("test"), {"site": ["a"] * 40}
    found = embedding_map(store, rows, labels, Thumbnails(None, None))
    assert [one["name"] for one in found["projections"]] == ["PCA", "UMAP"]
    assert len(found["projections"][1]["points"]) == 40
    monkeypatch.setattr(maps, "umap_places", broken)
    found = embedding_map(store, rows, labels, Thumbnails(None, None))
    assert [one["name"] for one in found["projections"]] == ["PCA"]
    assert "failed with ImportError" in found["note"]
