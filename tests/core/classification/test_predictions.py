from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eva_core.classification.predictions import Predictions, predictions_table, read_predictions
from eva_core.results.record import PREDICTIONS
from tests.core.scored import result


def test_scores_are_read_as_they_were_written(tmp_path: Path):
    scores = np.random.default_rng(0).dirichlet([1, 1], (3, 4)).astype(np.float32)
    part = Predictions("new", list("abcd"), ["", "p", "p", ""], np.array([0, 1, -1, 1]), scores)
    pq.write_table(predictions_table([part], ["x", "y"], range(3)), tmp_path / PREDICTIONS)
    result(tmp_path, "m", "accuracy")
    read = read_predictions(tmp_path, "new")
    classes = read.labels
    assert (classes, read.ids, read.groups) == (["x", "y"], ["a", "b", "c", "d"], ["", "p", "p", ""])
    assert read.targets.tolist() == [0, 1, -1, 1]
    assert np.array_equal(read.scores, scores)


def graded(shift: int) -> Predictions:
    """Forty grades of which every fourth is off by so much."""
    rng = np.random.default_rng(0)
    targets = np.arange(40) % 4
    predicted = np.where(np.arange(40) % 4 == 1, np.clip(targets + shift, 0, 3), targets)
    scores = np.eye(4)[predicted] * 0.9 + rng.uniform(0, 0.01, (40, 4))
    ids = [f"p{n:02d}" for n in range(40)]
    return Predictions("test", ids, ids, targets, scores[None] / scores.sum(1)[None, :, None], None, tuple("0123"))


def test_grades_are_compared_by_kappa():
    right, near, far = graded(0), graded(1), graded(2)
    worse = right.compare(far, "quadratic_kappa")
    assert worse.difference > right.compare(near, "quadratic_kappa").difference > 0
    assert worse.ci95 is not None
    assert worse.ci95[0] > 0
    assert worse.p is not None
    assert worse.p < 0.05
    assert right.test(far, "quadratic_kappa") == (worse.difference, worse.p)
    assert right.test(right, "quadratic_kappa") == (0, 1)


@pytest.mark.parametrize(("metric", "sign"), [("auprc", 1), ("brier", -1)])
def test_models_are_compared_by_rare_classes_and_by_squares(metric: str, sign: int):
    right, far = graded(0), graded(2)
    worse = right.compare(far, metric)
    assert worse.ci95 is not None
    assert sign * worse.difference > 0
    assert right.test(far, metric) == (worse.difference, worse.p)


def test_a_record_has_the_metrics_that_are_asked_for():
    record, intervals = graded(1).record(["accuracy", "auroc"])
    kinds = {name.partition("/")[0] for name in record["metrics"]}
    assert kinds == {name.partition("/")[0] for name in intervals.draws} == {"accuracy", "auroc", "recall"}


def test_predictions_without_log_odds_are_ranked_by_their_probabilities(tmp_path: Path):
    scores = np.array([[[0.25, 0.75], [1, 0]]], np.float32)
    part = Predictions("test", ["x", "y"], ["", ""], np.array([1, 0]), scores)
    table = predictions_table([part], ["a", "b"], [0])
    assert table["log_odds_b"].to_pylist() == pytest.approx([np.log(3), -np.inf])
    pq.write_table(table.drop_columns(["log_odds_a", "log_odds_b"]), tmp_path / PREDICTIONS)
    result(tmp_path, "m", "auroc")
    read = read_predictions(tmp_path, "test")
    classes = read.labels
    assert (classes, read.log_odds) == (["a", "b"], None)
    assert np.array_equal(read.ranking, part.ranking)
