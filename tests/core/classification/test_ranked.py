import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from eva_core.classification.ranked import RankedClass


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_areas_are_sklearns_under_weights_of_which_some_are_zero(levels: int):
    rng = np.random.default_rng(levels)
    positive, scores = rng.random(60) < 0.2, rng.integers(0, levels, 60).astype(np.float32)
    weights = rng.integers(0, 3, (20, 60)).astype(np.float64)
    ranked = RankedClass(scores, positive)
    for measured, expected in (
        (ranked.auroc(weights), roc_auc_score),
        (ranked.average_precision(weights), average_precision_score),
    ):
        by_row = [expected(positive, scores, sample_weight=row) for row in weights]
        np.testing.assert_allclose(measured, by_row, atol=1e-12)


def test_an_order_needs_both_sides():
    ranked = RankedClass(np.array([0.1, 0.2, 0.3]), np.array([True, False, True]))
    weights = np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(ranked.auroc(weights)).tolist() == [True, True, True, False]
    assert np.isnan(ranked.average_precision(weights)).tolist() == [True, True, True, False]


def test_a_rare_class_that_ranks_behind_a_few_others_is_told_by_precision_alone():
    """Source: Saito and Rehmsmeier, PLoS ONE 10, 2015: ROC hides what precision shows where positives are few."""
    scores = np.arange(1000.0)
    positive = np.isin(scores, np.arange(900, 910))
    ranked, one = RankedClass(scores, positive), np.ones((1, 1000))
    assert ranked.auroc(one)[0] > 0.9
    assert ranked.average_precision(one)[0] < 0.1
