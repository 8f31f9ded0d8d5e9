import math

import pytest
import torch

from eva_vision.slide_level.survival.outcome import Risk

TARGETS = torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 0.0]], dtype=torch.float64)


def test_the_loss_is_that_of_cox_by_event():
    assert Risk().loss(torch.zeros(3, 1), TARGETS).item() == pytest.approx((math.log(3) + math.log(2)) / 2)


@pytest.mark.parametrize("metric", ["c_harrell", "c_uno", "auc_t"])
def test_higher_risks_of_those_with_earlier_events_are_best(metric: str):
    assert Risk(metric).value(torch.tensor([[3.0], [2.0], [1.0]]), TARGETS) == 1
    assert Risk(metric).value(torch.tensor([[1.0], [2.0], [3.0]]), TARGETS) == 0


def test_without_an_event_nothing_is_learnt_and_nothing_is_better():
    nobody = TARGETS * torch.tensor([1, 0])
    outputs = torch.randn(3, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(Risk().loss(outputs, nobody), [outputs])
    assert (slope == 0).all()
    assert math.isnan(Risk().value(outputs.detach(), nobody))


def test_times_have_no_unit():
    assert Risk().units(TARGETS) == (0, 1)
