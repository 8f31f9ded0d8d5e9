import numpy as np
import pytest

from eva_core.contracts.metric import Metric
from eva_core.statistics.summary import measured_record

VALUES = np.array([0.2, 0.4, 0.9, np.nan])


def mean_of(values: np.ndarray):
    """A measure of samples, undefined where a draw has none that counts."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        counted = weights * ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            mean = (counted @ np.nan_to_num(values)) / counted.sum(axis=1)
        return {"mean": mean, "never": np.full(len(weights), np.nan)}

    return measure


def test_a_record_holds_values_mean_and_spread_by_run():
    runs = [mean_of(VALUES), mean_of(VALUES + 0.1)]
    record, intervals = measured_record(runs, [mean_of(VALUES * 0), mean_of(VALUES)], 4, None, {"mean": Metric()})
    found = record["metrics"]["mean"]
    assert found["values"] == pytest.approx([0.5, 0.6])
    assert found["mean"] == pytest.approx(0.55)
    assert found["std"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert found["last"] == pytest.approx(0.25)
    assert found["ci95"] == intervals.ci95["mean"]
    assert found["ci95"][0] < 0.55 < found["ci95"][1]
    assert (record["n"], record["n_groups"]) == (4, None)


def test_what_is_undefined_is_null_and_no_draw_of_it_is_counted():
    record, _ = measured_record([mean_of(VALUES)], [mean_of(VALUES)], 4, ["p", "p", "q", "q"])
    never = record["metrics"]["never"]
    assert (never["mean"], never["std"], never["last"], never["values"]) == (None, None, None, [None])
    assert "left_out" not in never
    assert record["n_groups"] == 2
    one_run = record["metrics"]["mean"]
    assert one_run["std"] is None


def test_draws_in_which_a_metric_is_undefined_are_counted():
    values = np.array([0.5, np.nan])
    record, _ = measured_record([mean_of(values)], [mean_of(values)], 2, None)
    assert record["metrics"]["mean"]["left_out"] / 2000 == pytest.approx(1 / 4, abs=0.04)
