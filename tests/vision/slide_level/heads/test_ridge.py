import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as ByScikitLearn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eva_core.contracts.protocol import Protocol
from eva_vision.slide_level.bags.stored_bags import MeanBags
from eva_vision.slide_level.contracts import BagData
from eva_vision.slide_level.heads.ridge import Ridge
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slide_level.regression.outcome import Value


def bags(n: int, features: int, seed: int) -> MeanBags:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, features)) * np.geomspace(1e-2, 1e2, features) + 3).astype(np.float32)
    y = 1e3 * (x[:, 0] * 100 + 0.01 * x[:, -1] + rng.normal(size=n)) + 1e5
    return MeanBags(torch.from_numpy(x), torch.from_numpy(y))


@pytest.mark.parametrize(("n", "features"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("penalty", [1e-4, 1.0, 100.0])
def test_it_is_scikit_learns_ridge(n: int, features: int, penalty: float):
    train, test = bags(n, features, 0), bags(30, features, 1)
    section = SlideLevel(penalties=(penalty,))
    (run,) = Ridge().fit(BagData(train, test, Value(), [0], section), Protocol("test"))
    reference = make_pipeline(StandardScaler(), ByScikitLearn(alpha=penalty * n))
    expected = reference.fit(train.means.double().numpy(), train.targets.numpy()).predict(test.means.double().numpy())
    said = Ridge().outputs(run.params, test)[:, 0].numpy()
    assert said == pytest.approx(expected, rel=1e-5)
    assert run.selected_value == pytest.approx(
        Value().value(torch.from_numpy(expected)[:, None], test.targets), abs=1e-5
    )


def test_few_samples_of_many_features_want_a_large_penalty():
    train, select = bags(20, 50, 0), bags(200, 50, 1)
    (run,) = Ridge().fit(BagData(train, select, Value(), [0], SlideLevel()), Protocol("test"))
    assert run.selected["penalty"] > 1e-3
    assert run.selected_value > 0
