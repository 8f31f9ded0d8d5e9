import json
from typing import Any

import numpy as np
import pytest

from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails
from eva_core.results.record import read_results
from eva_vision.regression.predictions import Values
from eva_vision.regression.sections import POINTS, sections, sections_of
from eva_vision.regression.summary import split_record
from tests.vision.regression.conftest import made_up


def results_of(part: Values) -> dict[str, Any]:
    record, _ = split_record(part.predicted, part.predicted, part.targets, part.labels, part.groups)
    return {
        "task": "slide_regression",
        "identity": {"model": "m"},
        "main": {"split": "test", "metric": "pearson"},
        "splits": {"test": record},
        "baselines": {"colour_stats": {"splits": {"test": record}}},
    }


def by_title(found: list[Any]) -> dict[str, Any]:
    json.dumps(found, allow_nan=False)
    return {part["title"]: part for part in found}


def test_truth_and_prediction_of_each_sample(written: Any):
    part = made_up()
    folder = written(part, results_of(part))
    parts = by_title(sections(Sources(folder, read_results(folder), None, Thumbnails(None, None))))
    assert list(parts) == ["Truth and prediction", "Furthest off"]
    scatter = parts["Truth and prediction"]
    assert scatter["ids"] == part.ids
    assert scatter["points"][5] == pytest.approx((part.targets[5], part.predicted.mean(0)[5]), rel=1e-4)
    rows = parts["Furthest off"]["rows"]
    errors = np.abs(part.predicted.mean(0) - part.targets)
    assert [row[0] for row in rows] == [f"s{i}" for i in np.argsort(-errors)[:12]]
    assert rows[0][4] == pytest.approx(rows[0][3] - rows[0][2])


def test_of_several_outputs_three_are_drawn_and_all_listed():
    part = made_up(outputs=5)
    part.predicted[..., 3] = part.targets[:, 3]
    part.predicted[..., 1] = 0
    parts = by_title(sections_of(part, results_of(part)))
    titles = list(parts)
    assert titles[0] == "Truth and prediction: gene 3"
    assert titles[2] == "Truth and prediction: gene 1"
    assert parts[titles[0]]["note"].startswith("The output with the best Pearson correlation.")
    table = parts["Outputs"]
    assert [row[0] for row in table["rows"]][0::4] == ["gene 1", "gene 3"]
    assert table["rows"][0][1] is None
    assert table["columns"][3] == "pearson of colour_stats"
    assert parts["Furthest off"]["columns"][2] == "furthest output"


def test_of_two_outputs_both_are_drawn_once():
    part = made_up(outputs=2)
    titles = [found["title"] for found in sections_of(part, results_of(part))]
    assert sorted(titles[:2]) == ["Truth and prediction: gene 0", "Truth and prediction: gene 1"]
    assert titles[2:] == ["Outputs", "Furthest off"]


def test_many_samples_are_a_part_of_them_and_the_page_says_so():
    part = made_up(n=POINTS + 10, runs=1)
    scatter, _ = sections_of(part, results_of(part))
    assert len(scatter["points"]) == len(scatter["ids"]) == POINTS
    assert "2,000 of 2,010" in scatter["note"]


def test_unknown_truth_is_not_drawn():
    part = made_up()
    record = results_of(part)
    part.targets[3] = np.nan
    scatter, worst = sections_of(part, record)
    assert "s3" not in scatter["ids"]
    assert "s3" not in [row[0] for row in worst["rows"]]
