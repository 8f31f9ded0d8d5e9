import warnings
from dataclasses import replace

import numpy as np
import pytest

from eva_vision.slide_level.survival.measures import weighted
from eva_vision.slide_level.survival.targets import Outcomes
from eva_vision.slide_level.survival.time_auc import quartile_times
from tests.vision.slide_level.survival.conftest import drawn, patients


def test_a_model_that_knows_is_near_one_and_none_is_near_a_half():
    _, outcomes = patients(500)
    values = weighted(-outcomes.times, outcomes, np.ones((1, 500)))
    assert {name: value[0] for name, value in values.items()} == pytest.approx(dict.fromkeys(values, 1))
    blind = weighted(np.random.default_rng(9).normal(size=500), outcomes, np.ones((1, 500)))
    assert {name: value[0] for name, value in blind.items()} == pytest.approx(dict.fromkeys(values, 0.5), abs=0.08)


def test_each_quartile_has_an_area_and_the_metric_is_their_mean():
    risks, outcomes = patients()
    values = weighted(risks, outcomes, drawn(60))
    times = [f"auc_t/{time:g}" for time in quartile_times(outcomes)]
    assert list(values) == ["c_harrell", "c_uno", "auc_t", *times]
    assert values["auc_t"] == pytest.approx(np.mean([values[name] for name in times], axis=0))
    for name in ("c_harrell", "c_uno", "auc_t"):
        assert np.array_equal(weighted(risks, outcomes, drawn(60), [name])[name], values[name])


def test_harrell_and_uno_agree_without_censoring_and_differ_with_it():
    risks, outcomes = patients()
    known = weighted(risks, replace(outcomes, events=np.ones(60, bool)), np.ones((1, 60)))
    assert known["c_harrell"] == pytest.approx(known["c_uno"])
    values = weighted(risks, outcomes, np.ones((1, 60)))
    assert abs(values["c_harrell"][0] - values["c_uno"][0]) > 1e-3


def test_a_time_without_controls_is_left_out_of_the_mean_and_a_draw_without_a_case_has_none():
    outcomes = Outcomes(np.array([1.0, 2, 3, 4]), np.ones(4, bool))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last = Outcomes(np.array([1.0, 4, 4, 4]), np.ones(4, bool))  # all have died at 4
        values = weighted(np.array([2.0, 3, 1, 0]), last, np.ones((1, 4)))
        drawn_without_the_first = weighted(np.arange(4.0), outcomes, np.array([[0, 2, 1, 1.0]]))
    assert np.isnan(values["auc_t/4"]).all()
    assert values["auc_t"] == pytest.approx(values["auc_t/1"])
    assert np.isnan(drawn_without_the_first["auc_t"]).all()


def test_shapes_that_do_not_fit_are_refused():
    risks, outcomes = patients()
    with pytest.raises(ValueError, match=r"Expected risks \(60,\)"):
        weighted(risks[:5], outcomes, np.ones((1, 60)))
