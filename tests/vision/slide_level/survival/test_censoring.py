"""The chance to be followed against torchsurv, whose estimator works in float32."""

import numpy as np
import pytest
import torch
from torchsurv.stats.ipcw import get_ipcw

from eva_vision.slide_level.survival.censoring import inverse_censoring
from tests.vision.slide_level.survival.conftest import drawn, patients


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
def test_weights_are_those_of_the_repeated_patients(whole: bool):
    _, outcomes = patients(whole=whole)
    weights = drawn(60)
    found = inverse_censoring(outcomes, weights)
    for values, count in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(60), count)
        expected = get_ipcw(torch.from_numpy(outcomes.events[rows]), torch.from_numpy(outcomes.times[rows]).float())
        assert values[rows] == pytest.approx(expected.numpy(), rel=1e-4)


def test_without_censoring_all_count_once():
    _, outcomes = patients(share=1 - 1e-9)
    assert outcomes.events.all()
    assert np.array_equal(inverse_censoring(outcomes, np.ones((2, 60))), np.ones((2, 60)))
