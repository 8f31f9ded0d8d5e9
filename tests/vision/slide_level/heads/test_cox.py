import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter

from eva_core.contracts.protocol import Protocol
from eva_vision.slide_level.bags.stored_bags import MeanBags
from eva_vision.slide_level.contracts import BagData
from eva_vision.slide_level.heads.cox import Cox
from eva_vision.slide_level.protocol import SlideLevel
from eva_vision.slide_level.survival.outcome import Risk


def patients(n: int, seed: int) -> MeanBags:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 4)) * [1, 10, 0.1, 1] + 2).astype(np.float32)
    times = np.round(rng.exponential(np.exp(-(x[:, 0] - 2) + 0.05 * (x[:, 1] - 2))), 1) + 0.1
    until = rng.exponential(2, n).round(1) + 0.1
    targets = np.stack([np.minimum(times, until), times <= until], 1)
    return MeanBags(torch.from_numpy(x), torch.from_numpy(targets))


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_it_is_lifelines_cox_model(penalty: float):
    train, test = patients(80, 0), patients(40, 1)
    section = SlideLevel(penalties=(penalty,))
    (run,) = Cox().fit(BagData(train, test, Risk(), [0], section), Protocol("test"))
    x = train.means.double().numpy()
    mean, std = x.mean(0), x.std(0)
    frame = pd.DataFrame((x - mean) / std).assign(time=train.targets[:, 0].numpy(), event=train.targets[:, 1].numpy())
    # it divides features by the deviation of n - 1
    fitter = CoxPHFitter(penalizer=penalty * 79 / 80).fit(frame, "time", "event", fit_options={"precision": 1e-10})
    expected = (test.means.double().numpy() - mean) / std @ fitter.params_.to_numpy()
    said = Cox().outputs(run.params, test)[:, 0].double().numpy()
    assert said - said.mean() == pytest.approx(expected - expected.mean(), abs=1e-4)
    assert run.selected_value > 0.7


def test_where_nobody_has_the_event_all_risks_are_the_same():
    train, test = patients(20, 0), patients(10, 1)
    train.targets[:, 1] = 0
    (run,) = Cox().fit(BagData(train, test, Risk(), [0], SlideLevel()), Protocol("test"))
    assert (Cox().outputs(run.params, test) == 0).all()
    assert run.selected_value == 0.5
