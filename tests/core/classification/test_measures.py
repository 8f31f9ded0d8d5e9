import numpy as np
import pytest

from eva_core.classification.measures import add_measures, measure_notes, stacked_measures


def test_runs_are_stacked_by_name():
    stacked = stacked_measures([{"a": np.array([0.0, 1.0])}, {"a": np.array([1.0, 1.0])}])
    assert stacked["a"].tolist() == [[0, 1], [1, 1]]
    assert stacked_measures([{}, {}]) == stacked_measures([]) == {}


def test_means_have_intervals_over_patients():
    rng = np.random.default_rng(0)
    values = rng.random((2, 60))
    record = {"n": 60, "metrics": {"accuracy": {}}}
    add_measures(
        record, {"precision_at_5": values}, {"precision_at_5": values[:, ::-1]}, [f"p{i // 2}" for i in range(60)]
    )
    found = record["metrics"]["precision_at_5"]
    assert found["values"] == pytest.approx(values.mean(1).tolist())
    assert found["mean"] == pytest.approx(values.mean())
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    assert list(record["metrics"]) == ["accuracy", "precision_at_5"]
    add_measures(record, {}, {}, None)
    assert list(record["metrics"]) == ["accuracy", "precision_at_5"]


def test_the_terminal_says_what_was_measured():
    metrics = {name: {"mean": 0.5, "ci95": [0.25, 0.75]} for name in ("accuracy", "recall/a", "precision_at_5")}
    results = {"main": {"split": "test"}, "splits": {"test": {"metrics": metrics}}}
    assert measure_notes(results) == ["precision at 5 0.500 (0.250 to 0.750)"]
    del metrics["precision_at_5"]
    assert measure_notes(results) == []
