"""Facts of metrics: what can be gained over a baseline, and what results.json keeps of them."""

import json
import math

import pytest

from eva_core.contracts.metric import Metric, read_metric, recorded

ERROR = Metric(higher_is_better=False, bounds=(0.0, math.inf))


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "gain"),
    [
        (Metric(), 0.9, 0.6, 0.75),
        (Metric(), 0.5, 0.6, -0.25),
        (Metric(), 0.9, 1.0, None),
        (ERROR, 1.0, 4.0, 0.75),
        (ERROR, 5.0, 4.0, -0.25),
        (ERROR, 0.0, 0.0, None),
        (Metric(bounds=(-math.inf, 1.0)), 0.8, -1.0, 0.9),
        (Metric(bounds=(0.0, math.inf)), 3.0, 1.0, None),
    ],
)
def test_what_is_gained_of_what_could_be(metric: Metric, value: float, baseline: float, gain: float | None):
    assert metric.gain(value, baseline) == (gain if gain is None else pytest.approx(gain))


@pytest.mark.parametrize("metric", [Metric(), ERROR, Metric(bounds=(-math.inf, 1.0), chance=0.0)])
def test_results_keep_the_facts(metric: Metric):
    kept = json.loads(json.dumps(recorded(metric), allow_nan=False))
    assert read_metric(kept) == metric


def test_the_sign_makes_the_greatest_the_best():
    assert (Metric().sign, ERROR.sign, Metric().best, ERROR.best) == (1, -1, 1.0, 0.0)
