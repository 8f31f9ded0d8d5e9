import numpy as np
import pytest

from eva_core.classification.predictions import Predictions
from eva_vision.datasets.slide_level import metadata_baseline, slide_scores


def test_the_baseline_predicts_the_share_of_mutants_of_the_cohort():
    train = [("A", t) for t in (1, 1, 0)] + [("B", t) for t in (0, 0, 1)]
    asked = [("A", 1), ("A", 1), ("B", 0), ("B", 1)]
    scores = metadata_baseline(train, asked)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["auroc"] == pytest.approx((2 + 0.5) / 3)
    everybody = metadata_baseline([("S", t) for _, t in train], [("S", t) for _, t in asked])
    assert everybody["auroc"] == pytest.approx(0.5)


def test_a_cohort_that_train_lacks_gets_the_share_of_all_of_train():
    found = metadata_baseline([("A", 1), ("A", 1), ("B", 0)], [("C", 1), ("B", 0)])
    assert found == {"balanced_accuracy": 1.0, "auroc": 1.0}


def test_slides_are_scored_by_the_mean_over_their_patches():
    positive = np.array([[0.9, 0.0, 0.6], [0.9, 0.9, 0.6]])  # two runs, two patches of slide a, one of slide b
    part = Predictions(
        "test", ["a/0_0", "a/0_9", "b/0_0"], [""] * 3, np.array([0, 0, 1]), np.stack([1 - positive, positive], -1)
    )
    assert slide_scores(part, ["a", "a", "b"]) == [
        {"balanced_accuracy": 1.0, "auroc": 1.0},
        {"balanced_accuracy": 0.5, "auroc": 0.0},
    ]
