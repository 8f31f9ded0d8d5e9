import numpy as np
import pytest

from eva_core.classification.summary import split_record

TARGETS = np.array([0, 0, 0, 0, 1, 1, 1, 2])


def scores(*guesses: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[np.array(guesses)] * 0.7 + np.float32(0.1)


def test_values_of_each_run_by_hand():
    selected = scores([0, 0, 0, 1, 1, 1, 0, 2], [0, 0, 0, 0, 1, 1, 1, 2])
    last = scores([1] * 8, [0] * 8)
    record, _ = split_record(selected, last, TARGETS, ["a", "b", "c"], None)
    accuracy = record["metrics"]["accuracy"]
    assert accuracy["values"] == pytest.approx([6 / 8, 1])
    assert accuracy["mean"] == pytest.approx(7 / 8)
    assert accuracy["std"] == pytest.approx(np.std([6 / 8, 1], ddof=1))
    assert accuracy["last"] == pytest.approx((3 / 8 + 4 / 8) / 2)
    balanced = record["metrics"]["balanced_accuracy"]["values"]
    assert balanced == pytest.approx([(3 / 4 + 2 / 3 + 1) / 3, 1])
    assert (record["n"], record["n_groups"]) == (8, None)


def test_classes_that_one_patient_has_are_named():
    guesses = scores([0, 0, 0, 0, 1, 1, 1, 2])
    groups = ["p", "p", "q", "q", "q", "q", "q", "p"]
    record, intervals = split_record(guesses, guesses, TARGETS, ["a", "b", "c"], groups)
    assert record["held_by_one"] == ["b", "c"]
    assert record["n_groups"] == intervals.n_groups == 2
    alone, _ = split_record(guesses, guesses, TARGETS, ["a", "b", "c"], ["p"] * 8)
    assert "held_by_one" not in alone


def test_auroc_ranks_by_log_odds_where_probabilities_tie():
    sure = np.full((1, 4, 2), 0.5, np.float32)
    odds = np.array([[[1, -1], [2, -2], [-1, 1], [-2, 2]]], np.float32)
    targets = np.array([0, 0, 1, 1])
    tied, _ = split_record(sure, sure, targets, ["a", "b"], None)
    ranked, _ = split_record(sure, sure, targets, ["a", "b"], None, odds, odds)
    assert tied["metrics"]["auroc"]["mean"] == 0.5
    assert ranked["metrics"]["auroc"]["mean"] == 1
