import numpy as np
import pytest

from eva_vision.robustness import typed_neighbours
from eva_vision.robustness.typed_neighbours import neighbours
from tests.vision.robustness.example import planted


@pytest.mark.parametrize("block", [2**23, 50])
def test_by_sorting_all_distances(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(typed_neighbours, "_BLOCK", block)
    monkeypatch.setattr(typed_neighbours, "_GATHERED", 1 if block == 50 else 2**22)
    x, labels = planted(n=60, slides=2)
    found = neighbours(x, labels, 8, 3)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    for i, distances in enumerate(1 - unit @ unit.T):
        same_class, same_site = labels.classes == labels.classes[i], labels.sites == labels.sites[i]
        order = np.argsort(np.where(labels.groups == labels.groups[i], np.inf, distances))
        assert found.rows[i].tolist() == order[:8].tolist()
        assert found.distances[i] == pytest.approx(distances[order[:8]], abs=1e-7)
        for kind, chosen in (("so", same_class & ~same_site), ("os", ~same_class & same_site)):
            assert getattr(found, kind)[i] == pytest.approx(np.sort(distances[chosen])[:3], abs=1e-7)


def test_fewer_than_asked_for_are_marked():
    x, labels = planted(n=9, slides=1)  # one image of each class at each site
    found = neighbours(x, labels, 50, 5)
    assert found.rows.shape == (9, 50)
    assert ((found.rows >= 0).sum(1) == 8).all()
    assert (np.isfinite(found.so).sum(1) == 2).all()
    assert (np.isfinite(found.os).sum(1) == 2).all()


def test_labels_of_some_rows():
    _, labels = planted(n=9)
    assert labels.of(np.array([4, 1])).classes.tolist() == [1, 1]
