import json

import numpy as np
import pytest

from eva_vision.regression.summary import split_record
from tests.vision.regression.conftest import made_up


def test_each_run_has_its_values_and_the_interval_covers_the_mean():
    part = made_up()
    record, intervals = split_record(part.predicted, part.predicted[:, ::-1], part.targets, part.labels, part.groups)
    mae = record["metrics"]["mae"]
    assert mae["values"] == pytest.approx(np.abs(part.predicted - part.targets).mean(axis=1).tolist())
    low, high = mae["ci95"]
    assert low < mae["mean"] < high
    assert (record["n"], record["n_groups"], intervals.n_groups) == (60, 30, 30)
    assert set(record["metrics"]) == {"r2", "pearson", "spearman", "mae"}
    assert record["metrics"]["r2"]["last"] < record["metrics"]["r2"]["mean"]
    json.dumps(record, allow_nan=False)


def test_several_outputs_have_a_correlation_each():
    part = made_up(outputs=2)
    record, _ = split_record(part.predicted, part.predicted, part.targets, part.labels, None)
    assert {"pearson/gene 0", "pearson/gene 1"} < set(record["metrics"])


def test_metrics_that_nobody_asked_for_are_not_computed():
    part = made_up(runs=1)
    record, _ = split_record(part.predicted, part.predicted, part.targets, part.labels, None, ["pearson", "r2"])
    assert list(record["metrics"]) == ["pearson", "r2"]


def test_constant_predictions_have_no_correlation_but_an_error():
    part = made_up(runs=1)
    flat = np.zeros_like(part.predicted)
    record, _ = split_record(flat, flat, part.targets, part.labels, part.groups)
    assert record["metrics"]["pearson"]["mean"] is None
    assert record["metrics"]["pearson"]["ci95"] is None
    assert record["metrics"]["r2"]["mean"] == pytest.approx(1 - np.mean(part.targets**2) / part.targets.var())
