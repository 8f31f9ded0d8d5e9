"""The Cox loss against lifelines, which fits it by Newton's method."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter

from eva_vision.slide_level.survival.cox_loss import cox_loss


def patients(whole: bool, n: int = 80) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    times = rng.exponential(np.exp(-x @ [1, -0.5, 0])) * 5
    times = np.ceil(times) if whole else times
    return torch.from_numpy(x), torch.from_numpy(times), torch.from_numpy(rng.random(n) < 0.7)


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
def test_its_optimum_is_that_of_lifelines(whole: bool):
    x, times, events = patients(whole)
    frame = pd.DataFrame(x.numpy(), columns=list("abc")).assign(time=times.numpy(), event=events.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = CoxPHFitter().fit(frame, "time", "event")
    weights = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cox_loss(x.float() @ weights, times, events)
        loss.backward()
        return loss

    optimizer.step(step)
    assert weights.detach().numpy() == pytest.approx(fitted.params_.to_numpy(), abs=2e-3)
    at_optimum = cox_loss(x @ torch.from_numpy(fitted.params_.to_numpy()), times, events) * events.sum()
    assert float(at_optimum) == pytest.approx(-fitted.log_likelihood_, rel=1e-5)


def test_a_batch_without_an_event_teaches_nothing():
    for hazards in (torch.randn(4, requires_grad=True), torch.randn(1, 1, requires_grad=True)):
        loss = cox_loss(hazards, torch.rand(len(hazards)), torch.zeros(len(hazards)))
        loss.backward()
        assert float(loss.detach()) == 0
        assert not hazards.grad.any()


def test_one_patient_alone_teaches_nothing():
    hazard = torch.randn(1, requires_grad=True)
    loss = cox_loss(hazard, torch.ones(1), torch.ones(1))
    loss.backward()
    assert (float(loss.detach()), float(hazard.grad)) == (0, 0)


def test_large_hazards_do_not_overflow_and_nothing_is_printed(recwarn: pytest.WarningsRecorder):
    x, times, events = patients(True)
    hazards = x[:, 0].float()
    near = cox_loss(hazards, times, events)
    far = (hazards + 1000).requires_grad_()
    loss = cox_loss(far[:, None], times, events)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(near), rel=1e-4)
    assert far.grad.isfinite().all()
    assert not [warning for warning in recwarn if "Ties" in str(warning.message)]


def test_times_closer_than_float32_are_no_ties():
    times = torch.tensor([1e9, 1e9 + 1e-6, 1e9 + 2e-6], dtype=torch.float64)
    apart = cox_loss(torch.zeros(3), times, torch.ones(3))
    assert float(apart) == pytest.approx(np.log(6) / 3)


def test_hazards_that_are_no_number_give_none():
    assert cox_loss(torch.tensor([1.0, float("nan")]), torch.ones(2), torch.ones(2)).isnan()
