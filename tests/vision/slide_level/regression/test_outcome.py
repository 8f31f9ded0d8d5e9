import math

import pytest
import torch

from eva_vision.slide_level.regression.outcome import Value

Y = torch.tensor([1.0, 3.0, 5.0, 11.0], dtype=torch.float64)


def test_the_loss_is_the_mean_squared_error():
    assert Value().loss(torch.tensor([[2.0], [3.0], [3.0], [11.0]]), Y).item() == pytest.approx(5 / 4)


@pytest.mark.parametrize(("metric", "expected"), [("r2", 0.0), ("mae", -3.0), ("spearman", -0.4)])
def test_what_is_greatest_is_best(metric: str, expected: float):
    outputs = torch.tensor([[5.0], [5.0], [5.0], [5.0]])
    if metric == "spearman":
        outputs = torch.tensor([[4.0], [2.0], [1.0], [3.0]])
    assert Value(metric).value(outputs, Y) == pytest.approx(expected)


def test_units_are_mean_and_standard_deviation():
    zero, unit = Value().units(Y)
    assert zero == 5
    assert unit == pytest.approx(math.sqrt((16 + 4 + 36) / 4))


@pytest.mark.parametrize(("targets", "units"), [([], (0, 1)), ([7.0], (7, 1)), ([2.0, 2.0], (2, 1))])
def test_equal_targets_have_the_unit_1(targets: list[float], units: tuple[float, float]):
    assert Value().units(torch.tensor(targets)) == units
