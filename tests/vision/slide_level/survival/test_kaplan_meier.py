"""Curves and the log-rank test against lifelines."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from eva_vision.slide_level.survival.kaplan_meier import at_risk, log_rank, survival_curve
from tests.vision.slide_level.survival.conftest import patients


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
def test_the_curve_is_that_of_lifelines(whole: bool):
    _, outcomes = patients(whole=whole)
    reference = KaplanMeierFitter().fit(outcomes.times, outcomes.events)
    curve = survival_curve(outcomes.times, outcomes.events)
    assert curve.times[0] == 0
    assert curve.survival[0] == 1
    expected = reference.survival_function_["KM_estimate"]
    assert curve.at(expected.index.to_numpy()) == pytest.approx(expected.to_numpy())
    assert curve.median() == reference.median_survival_time_
    counts = reference.event_table["at_risk"]
    assert at_risk(outcomes.times, counts.index.to_numpy()) == counts.tolist()


@pytest.mark.parametrize("whole", [True, False], ids=["ties", "no ties"])
@pytest.mark.parametrize("by", [0.0, 0.5])
def test_the_test_is_that_of_lifelines(whole: bool, by: float):
    risks, outcomes = patients(whole=whole)
    high = by * risks + np.random.default_rng(7).normal(size=60) > 0
    expected = logrank_test(
        outcomes.times[high], outcomes.times[~high], outcomes.events[high], outcomes.events[~high]
    ).p_value
    assert log_rank(outcomes.times, outcomes.events, high) == pytest.approx(expected, rel=1e-6)


def test_an_event_on_the_first_day_is_a_step_at_zero():
    curve = survival_curve(np.array([0.0, 0.0, 3.0]), np.array([True, False, False]))
    assert (curve.times.tolist(), curve.survival.round(3).tolist()) == ([0, 3], [0.667, 0.667])
    assert curve.median() is None


def test_without_two_groups_or_an_event_there_is_no_test():
    times, events = np.arange(1.0, 5), np.array([True, True, False, True])
    assert log_rank(times, events, np.ones(4, bool)) is None
    assert log_rank(times, events, np.zeros(4, bool)) is None
    assert log_rank(times, np.zeros(4, bool), times > 2) is None
    assert log_rank(np.ones(2), np.ones(2, bool), np.array([True, False])) is None  # all at once
