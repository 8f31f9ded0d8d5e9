import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lifelines.statistics import logrank_test

from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails
from eva_core.results.record import read_results
from eva_vision.slide_level.survival.sections import above_median, axis_end, sections, sections_of
from tests.vision.slide_level.survival.conftest import risks_of


def test_curves_of_the_median_split_with_numbers_at_risk(written: Any):
    part = risks_of(0.5)
    folder = written(part, {"task": "slide_survival", "main": {"split": "test", "metric": "c_harrell"}})
    curves, table = sections(Sources(folder, read_results(folder), None, Thumbnails(None, None)))
    json.dumps([curves, table], allow_nan=False)
    mean = part.risks.mean(0)
    high = mean > np.median(mean)
    p = logrank_test(part.times[high], part.times[~high], part.events[high], part.events[~high]).p_value
    assert p < 1e-4
    assert "log-rank p < 0.0001" in curves["note"]
    assert "mean risk over runs above the median of these 80 patients" in curves["note"]
    assert [row[0] for row in curves["counts"]["rows"]] == [40, 40]
    assert curves["counts"]["at"][-1] == curves["ranges"][0][1] >= part.times.max()
    assert curves["series"][0]["name"] == f"higher risk (40 patients, {part.events[high].sum()} events)"
    assert len(curves["series"][0]["marks"]) == (~part.events[high]).sum()
    worse, better = (line["points"][-1][1] for line in curves["series"])
    assert worse <= better
    assert table["rows"][0][:3] == ["higher risk", "40", str(part.events[high].sum())]
    assert table["rows"][0][4] < table["rows"][1][4]


def test_a_p_that_is_not_small_is_shown_and_is_that_of_lifelines():
    part = risks_of(50)
    high = above_median(part)
    p = logrank_test(part.times[high], part.times[~high], part.events[high], part.events[~high]).p_value
    assert f"log-rank p = {p:.2g}." in sections_of(part)[0]["note"]


def test_each_fold_is_split_at_its_own_median():
    part = risks_of(0.5, folds=4)
    high = above_median(part)
    assert [high[part.strata == number].mean() for number in range(4)] == [0.5] * 4
    assert "above the median of its fold" in sections_of(part)[0]["note"]


def test_one_fold_is_none():
    assert "of its fold" not in sections_of(replace(risks_of(0.5), strata=np.full(80, 3)))[0]["note"]


def test_a_picture_of_many_patients_has_as_many_points_as_it_can_show():
    part = risks_of(1, runs=1, n=20_000)
    curves, _ = sections_of(part)
    for line in curves["series"]:
        assert len(line["points"]) <= 1002
        assert len(line["marks"]) <= 1001
        times = [t for t, _ in line["points"]]
        assert times[0] == 0
        assert times == sorted(times)


def test_patients_that_do_not_part_are_no_reason_to_fail():
    part = risks_of(1, runs=1)
    (note,) = sections_of(replace(part, risks=np.zeros_like(part.risks)))
    assert note["kind"] == "note"
    (note,) = sections_of(replace(part, events=np.zeros(80, bool)))
    assert note["kind"] == "note"


@pytest.mark.parametrize("most", [0.013, 0.9, 1, 7, 53, 100, 101, 3650])
def test_parts_of_the_axis_are_round(most: float):
    end = axis_end(most)
    assert most <= end <= 1.6 * most
    assert float(f"{end / 4:.2g}") == pytest.approx(end / 4)
    assert axis_end(0) == 1
