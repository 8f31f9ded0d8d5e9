import json

import numpy as np
import pytest
from lifelines.utils import concordance_index

from eva_vision.slide_level.survival.summary import split_record
from tests.vision.slide_level.survival.conftest import risks_of


def test_each_run_has_its_values_and_the_interval_covers_the_mean():
    part = risks_of(1, runs=3)
    record, intervals = split_record(part.risks, -part.risks, part.outcomes, part.groups)
    concordances = record["metrics"]["c_harrell"]
    assert concordances["values"] == pytest.approx(
        [concordance_index(part.times, -run, part.events) for run in part.risks]
    )
    low, high = concordances["ci95"]
    assert low < concordances["mean"] < high
    assert concordances["last"] == pytest.approx(1 - concordances["mean"])
    assert (record["n"], record["n_groups"], intervals.n_groups) == (80, 40, 40)
    assert record["n_events"] == part.events.sum()
    json.dumps(record, allow_nan=False)


def test_risks_of_folds_are_compared_within_them():
    part = risks_of(1, folds=4)
    within, _ = split_record(part.risks, part.risks, part.outcomes, part.groups)
    each = [
        concordance_index(part.times[fold], -part.risks[0, fold], part.events[fold])
        for fold in (part.strata == number for number in range(4))
    ]
    assert min(each) < within["metrics"]["c_harrell"]["values"][0] < max(each)
    assert within["metrics"]["c_harrell"]["values"][0] > concordance_index(part.times, -part.risks[0], part.events)


def test_equal_risks_say_nothing():
    part = risks_of(1)
    flat = np.zeros_like(part.risks)
    record, _ = split_record(flat, flat, part.outcomes, part.groups)
    assert {name: metric["mean"] for name, metric in record["metrics"].items()} == pytest.approx(
        dict.fromkeys(record["metrics"], 0.5)
    )
