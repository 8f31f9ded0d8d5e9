"""The linear Cox model against lifelines."""

import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index

from eva_core.errors import EvaError
from eva_vision.slide_level.survival.cox_fit import fit_cox


def patients(n: int, d: int, whole: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Standardised features that say something of the times; whole numbers tie."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x = (x - x.mean(0)) / x.std(0, ddof=1)
    times = rng.exponential(np.exp(-x[:, 0] + 0.5 * x[:, 1])) * 5
    events = rng.random(n) < 0.7
    return torch.from_numpy(x), torch.from_numpy(np.ceil(times) if whole else times), torch.from_numpy(events)


def by_lifelines(x: torch.Tensor, times: torch.Tensor, events: torch.Tensor, penalty: float) -> np.ndarray:
    names = [f"x{n}" for n in range(x.shape[1])]
    frame = pd.DataFrame(x.numpy(), columns=names).assign(time=times.numpy(), event=events.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = CoxPHFitter(penalizer=penalty, l1_ratio=0).fit(frame, "time", "event", fit_options={"precision": 1e-9})
    return fitted.params_[names].to_numpy()


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
@pytest.mark.parametrize("penalty", [0.01, 0.3])
@pytest.mark.parametrize(("n", "d"), [(120, 5), (30, 40)])
def test_weights_are_those_of_lifelines(n: int, d: int, penalty: float, whole: bool):
    x, times, events = patients(n, d, whole)
    assert fit_cox(x, times, events, penalty).numpy() == pytest.approx(
        by_lifelines(x, times, events, penalty), abs=1e-4
    )


def test_the_gradient_of_torchsurv_is_zero_there():
    """With the penalty of more features than patients, of which lifelines is slow."""
    from eva_vision.slide_level.survival.cox_loss import cox_loss

    x, times, events = patients(150, 400, whole=True)
    weights = fit_cox(x, times, events, 0.1).requires_grad_()
    (cox_loss(x @ weights, times, events) * events.sum() / len(x) + 0.05 * weights @ weights).backward()
    assert weights.grad.abs().max() < 1e-6


def test_as_many_features_as_a_bag_has_take_seconds():
    x, times, events = patients(300, 1536, whole=True)
    began = time.process_time()
    weights = fit_cox(x.float(), times.float(), events.int(), 0.01)
    assert time.process_time() - began < 20
    assert weights.dtype == torch.float32
    assert concordance_index(times, -x.float() @ weights, events) > 0.9


def test_what_cannot_be_fitted_is_refused():
    x, times, events = patients(20, 2, whole=False)
    with pytest.raises(ValueError, match="penalty above 0"):
        fit_cox(x, times, events, 0)
    with pytest.raises(ValueError, match="an event at least"):
        fit_cox(x, times, torch.zeros(20), 1)
    x[3, 1] = torch.nan
    with pytest.raises(EvaError, match="finite features"):
        fit_cox(x, times, events, 1)


def test_constant_features_have_no_weight():
    x, times, events = patients(40, 3, whole=False)
    x[:, 1] = 0
    assert abs(fit_cox(x, times, events, 0.1)[1]) < 1e-12
    assert not fit_cox(torch.zeros(40, 3), times, events, 0.1).any()
