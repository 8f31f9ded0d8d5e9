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
