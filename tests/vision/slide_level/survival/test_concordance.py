"""C under weights against lifelines and torchsurv on the repeated patients, and by hand within strata."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from lifelines.utils import concordance_index
from torchsurv.metrics.cindex import ConcordanceIndex
from torchsurv.stats.ipcw import get_ipcw

from eva_vision.slide_level.survival import concordance as module
from eva_vision.slide_level.survival.censoring import inverse_censoring
from eva_vision.slide_level.survival.concordance import concordance
from eva_vision.slide_level.survival.targets import Outcomes
from tests.vision.slide_level.survival.conftest import drawn, patients


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
@pytest.mark.parametrize("block", [2**21, 100])
def test_harrell_is_that_of_lifelines(whole: bool, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    risks, outcomes = patients(whole=whole)
    weights = drawn(60)
    found = concordance(risks, outcomes, weights)
    for value, count in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(60), count)
        expected = concordance_index(outcomes.times[rows], -risks[rows], outcomes.events[rows])
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
def test_uno_is_that_of_torchsurv(whole: bool):
    risks, outcomes = patients(whole=whole)
    weights = drawn(60)
    found = concordance(risks, outcomes, weights, inverse_censoring(outcomes, weights) ** 2)
    for value, count in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(60), count)
        events, times = torch.from_numpy(outcomes.events[rows]), torch.from_numpy(outcomes.times[rows]).float()
        censoring = get_ipcw(events, times)
        expected = ConcordanceIndex()(torch.from_numpy(risks[rows]).float(), events, times, weight=censoring)
        assert value == pytest.approx(float(expected), abs=1e-5)


def by_hand(risks: np.ndarray, outcomes: Outcomes, weights: np.ndarray, of_events: np.ndarray) -> float:
    in_order = pairs = 0.0
    for i in np.flatnonzero(outcomes.events):
        for j in range(len(risks)):
            longer = outcomes.times[j] > outcomes.times[i]
            longer |= outcomes.times[j] == outcomes.times[i] and not outcomes.events[j]
            if longer and outcomes.stratum[i] == outcomes.stratum[j]:
                weight = weights[i] * weights[j] * of_events[i]
                pairs += weight
                in_order += weight * ((risks[i] > risks[j]) + (risks[i] == risks[j]) / 2)
    return in_order / pairs


def test_pairs_are_made_within_a_stratum():
    risks, outcomes = patients(whole=True)
    strata = np.random.default_rng(3).integers(3, size=60)
    outcomes = replace(outcomes, strata=strata)
    weights, squares = drawn(60, 4), np.random.default_rng(4).random((4, 60))
    found = concordance(risks, outcomes, weights, squares)
    expected = [by_hand(risks, outcomes, *pair) for pair in zip(weights, squares, strict=True)]
    assert found == pytest.approx(expected, abs=1e-12)
    shifted = concordance(risks + 100 * strata, outcomes, weights, squares)
    assert shifted == pytest.approx(found, abs=1e-12)


def test_weights_need_not_be_whole():
    risks, outcomes = patients()
    assert concordance(risks, outcomes, drawn(60) / 7) == pytest.approx(concordance(risks, outcomes, drawn(60)))


def test_without_a_pair_there_is_no_concordance():
    times = np.arange(1.0, 4)
    events = np.array([True, False, False])
    outcomes = Outcomes(times, events)
    assert concordance(np.arange(3.0), outcomes, np.array([[1, 1, 0], [0, 1, 1], [3, 0, 0.0]])).tolist()[0] == 0
    assert np.isnan(concordance(np.arange(3.0), outcomes, np.array([[0, 1, 1], [3, 0, 0.0]]))).all()
    assert np.isnan(concordance(np.array([1, np.nan, 2]), outcomes, np.ones((1, 3)))).all()
    assert np.isnan(concordance(np.arange(3.0), replace(outcomes, strata=np.arange(3)), np.ones((1, 3)))).all()
    assert len(concordance(np.arange(3.0), outcomes, np.empty((0, 3)))) == 0


def test_a_thousand_patients_and_two_thousand_draws_take_seconds():
    risks, outcomes = patients(1000)
    weights = drawn(1000, 2000)
    began = time.process_time()
    concordance(risks, outcomes, weights)
    assert time.process_time() - began < 5
