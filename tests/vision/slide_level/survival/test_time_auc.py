"""Time-dependent AUC against torchsurv."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchsurv.metrics.auc import Auc
from torchsurv.stats.ipcw import get_ipcw

from eva_vision.slide_level.survival.censoring import inverse_censoring
from eva_vision.slide_level.survival.targets import Outcomes
from eva_vision.slide_level.survival.time_auc import quartile_times, time_auc
from tests.vision.slide_level.survival.conftest import drawn, patients


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
def test_it_is_that_of_torchsurv_on_the_repeated_patients(whole: bool):
    risks, outcomes = patients(whole=whole)
    times, weights = quartile_times(outcomes), drawn(60)
    censoring = inverse_censoring(outcomes, weights)
    found = np.stack([time_auc(risks, outcomes, weights, censoring, t) for t in times], axis=1)
    for values, count in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(60), count)
        events, followed = torch.from_numpy(outcomes.events[rows]), torch.from_numpy(outcomes.times[rows]).float()
        at = torch.from_numpy(times).float()
        expected = Auc()(
            torch.from_numpy(risks[rows]).float(),
            events,
            followed,
            weight=get_ipcw(events, followed),
            new_time=at,
            weight_new_time=get_ipcw(events, followed, at),
        )
        assert values == pytest.approx(expected.numpy(), abs=1e-4)


def test_cases_and_controls_are_of_one_stratum():
    risks, outcomes = patients(whole=True)
    strata = np.arange(60) % 2
    split = replace(outcomes, strata=strata)
    once, time = np.ones((1, 60)), 3.0
    censoring = inverse_censoring(outcomes, once)
    in_order = pairs = 0.0
    for number in (0, 1):
        rows = strata == number
        of = Outcomes(outcomes.times[rows], outcomes.events[rows])
        case, control = of.events & (of.times <= time), of.times > time
        weight = censoring[0, rows][case].sum() * control.sum()
        pairs += weight
        in_order += weight * time_auc(risks[rows], of, once[:, rows], censoring[:, rows], time)[0]
    assert time_auc(risks + 50 * strata, split, once, censoring, time)[0] == pytest.approx(in_order / pairs)


def test_without_cases_or_controls_there_is_none():
    outcomes = Outcomes(np.array([1.0, 2, 3]), np.array([True, True, False]))
    ones = np.ones((2, 3))
    assert np.isnan(time_auc(np.arange(3.0), outcomes, ones, ones, 3.0)).all()
    assert np.isnan(time_auc(np.arange(3.0), outcomes, ones, ones, 0.5)).all()
    assert np.isnan(time_auc(np.array([np.nan, 1, 2]), outcomes, ones, ones, 1.0)).all()
    assert quartile_times(Outcomes(np.ones(2), np.zeros(2, bool))).tolist() == []


def test_equal_quartiles_are_one_time():
    assert quartile_times(Outcomes(np.array([2.0, 2, 2, 5]), np.array([True] * 3 + [False]))).tolist() == [2]
