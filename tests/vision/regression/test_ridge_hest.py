import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eva_core.contracts.head import Embedded
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_vision.regression.contracts import ValueData
from eva_vision.regression.ridge_hest import RidgeHest, fitted


def random(n: int, dim: int, genes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of correlated features, and values that follow some of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 20)) @ rng.normal(size=(20, dim)) + rng.normal(size=(n, dim)) + rng.normal(size=dim)
    y = np.log1p(rng.poisson(np.exp(x[:, :genes] / x[:, :genes].std(0) / 2 + 1)))
    return x.astype(np.float32), y


def by_scikit_learn(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """HEST-bench's own pipeline, all components exact."""
    count = min(256, *x.shape)
    reduce = make_pipeline(StandardScaler(), PCA(count, svd_solver="full"))
    reduced = reduce.fit_transform(x.astype(np.float64))
    alpha = 100 / (count * y.shape[1])
    ridge = Ridge(alpha=alpha, fit_intercept=False, solver="lsqr", max_iter=1000).fit(reduced, y)
    return ridge.predict(reduce.transform(new.astype(np.float64))).reshape(len(new), -1)


@pytest.mark.parametrize(("n", "dim", "genes"), [(1500, 384, 50), (700, 6, 50), (1200, 256, 1)])
def test_predictions_are_those_of_the_published_pipeline(n: int, dim: int, genes: int):
    x, y = random(n + 100, dim, min(genes, dim))
    y = np.resize(y, (len(y), genes)) if genes > dim else y
    head = RidgeHest()
    data = ValueData(Embedded(torch.from_numpy(x[:n]), torch.from_numpy(y[:n])), [""] * n)
    (run,) = head.fit(data, Protocol("p"))
    expected = by_scikit_learn(x[:n], y[:n], x[n:])
    predicted = head.values(run.params, torch.from_numpy(x[n:])).numpy()
    assert predicted - y[:n].mean(axis=0) == pytest.approx(expected, abs=1e-6)  # the mean gives it the unit of y
    assert np.abs(expected).max() > 0.1


def test_with_fewer_samples_than_features_it_is_near_as_the_solver_stops_at_its_tolerance():
    x, y = random(250, 300, 3)
    weight, bias = fitted(x[:150], y[:150])
    assert x[150:] @ weight + bias == pytest.approx(by_scikit_learn(x[:150], y[:150], x[150:]), abs=2e-3)


def test_features_that_are_constant_or_copies_do_no_harm():
    x, y = random(300, 12, 4)
    more = np.concatenate([x, np.full((300, 1), 7.7, np.float32), x[:, :1]], axis=1)
    weight, bias = fitted(more[:200], y[:200])
    assert more[200:] @ weight + bias == pytest.approx(by_scikit_learn(more[:200], y[:200], more[200:]), abs=1e-6)


def test_nothing_is_random():
    assert list(RidgeHest().runs(Protocol("p", runs=5))) == [0]


def test_embeddings_that_are_not_finite_are_refused():
    x, y = random(20, 6, 2)
    x[3, 2] = np.nan
    with pytest.raises(EvaError, match="Expected finite embeddings"):
        fitted(x, y)
