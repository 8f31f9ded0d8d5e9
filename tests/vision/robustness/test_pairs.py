import numpy as np
import pytest

from eva_vision.robustness import pairs
from eva_vision.robustness.pairs import kind_of, measured

SLIDES = {"a": ("GIV", "AT2"), "b": ("GIV", "P"), "c": ("HR", "P"), "d": ("HR", "S60")}


def plain(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """As plism-benchmark says: rank the tile's counterpart among all other tiles of both slides."""
    both = np.concatenate([a, b]).astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    similarity, n = both @ both.T, len(a)
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, :10]
    hits = [(i + n) % (2 * n) in nearest[i] for i in range(2 * n)]
    return float(np.mean([similarity[i, i + n] for i in range(n)])), float(np.mean(hits))


@pytest.mark.parametrize("rows", [1024, 7])
def test_as_plainly_computed(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs, "_ROWS", rows)
    rng = np.random.default_rng(0)
    tissue = rng.normal(size=(60, 12))
    x = np.stack([tissue + s * rng.normal(size=(60, 12)) + rng.normal(size=12) for s in (0.3, 0.6, 1.0, 1.5)])
    x = x.astype(np.float32)
    found = measured(x, SLIDES)
    expected = {(i, j): plain(x[i], x[j]) for i in range(4) for j in range(i + 1, 4)}
    names = list(SLIDES.values())
    for kind in ("scanner", "stain", "both"):
        of = [value for (i, j), value in expected.items() if kind_of(names[i], names[j]) == kind]
        assert found[kind] == pytest.approx(np.array(of), abs=1e-6)
    assert found["all"] == pytest.approx(np.array(list(expected.values())), abs=1e-6)
    assert 0.1 < found["all"][:, 1].min() < 0.9


def test_the_same_image_is_found_though_it_rounds():
    x = np.repeat(np.random.default_rng(1).normal(size=(1, 50, 7)).astype(np.float32), 2, axis=0)
    found = measured(x, {"a": ("GIV", "AT2"), "b": ("GIV", "P")})
    assert found["all"] == pytest.approx(np.array([[1.0, 1.0]]))
    assert set(found) == {"scanner", "all"}
