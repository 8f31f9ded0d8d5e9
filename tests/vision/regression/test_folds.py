import numpy as np
import pytest
from scipy.stats import pearsonr

from eva_vision.regression.folds import of_each_output, rows_of_folds, weighted_over_folds
from eva_vision.regression.metrics import weighted

RNG = np.random.default_rng(0)
FOLDS = np.repeat([0, 1, 2], [20, 30, 10])
TARGETS = RNG.normal(size=(60, 4))
PREDICTED = TARGETS + RNG.normal(size=(60, 4)) + 10 * FOLDS[:, None]
GENES = ["a", "b", "c", "d"]
ONES = np.ones((1, 60))


def over_folds(weights: np.ndarray = ONES, targets: np.ndarray = TARGETS) -> dict[str, np.ndarray]:
    return weighted_over_folds(PREDICTED, targets, weights, FOLDS, GENES, ["pearson", "mae"])


def test_the_score_is_the_mean_over_folds_of_the_mean_over_outputs():
    by_fold = [
        [pearsonr(PREDICTED[rows, g], TARGETS[rows, g]).statistic for g in range(4)] for rows in rows_of_folds(FOLDS)
    ]
    values = over_folds()
    assert values["pearson"][0] == pytest.approx(np.mean(by_fold))
    assert values["pearson/c"][0] == pytest.approx(np.mean(by_fold, axis=0)[2])
    assert of_each_output(PREDICTED, TARGETS, FOLDS, "pearson") == pytest.approx(np.mean(by_fold, axis=0))
    assert values["pearson"][0] > weighted(PREDICTED, TARGETS, ONES, GENES)["pearson"][0] + 0.1  # folds have offsets


def test_one_fold_is_no_fold():
    for folds in (None, FOLDS * 0):
        assert weighted_over_folds(PREDICTED, TARGETS, ONES, folds, GENES) == weighted(PREDICTED, TARGETS, ONES, GENES)


def test_a_fold_that_is_drawn_twice_counts_twice_and_one_that_is_not_drawn_does_not():
    each = [over_folds((f == FOLDS)[None].astype(float))["pearson"][0] for f in range(3)]
    assert over_folds()["pearson"][0] == pytest.approx(np.mean(each))
    weights = np.array([2.0, 1.0, 0.0])[FOLDS][None]
    assert over_folds(weights)["pearson"][0] == pytest.approx((2 * each[0] + each[1]) / 3)


def test_an_output_that_never_varies_in_a_fold_is_left_out_there():
    targets = TARGETS.copy()
    targets[FOLDS == 1, 2] = 0
    values, whole = over_folds(targets=targets), over_folds()
    assert np.isfinite(values["pearson"])
    each = [pearsonr(PREDICTED[f == FOLDS, 2], TARGETS[f == FOLDS, 2]).statistic for f in (0, 2)]
    assert values["pearson/c"][0] == pytest.approx(np.mean(each))
    assert values["pearson/a"] == pytest.approx(whole["pearson/a"])
    assert of_each_output(PREDICTED, targets, FOLDS, "pearson")[2] == pytest.approx(np.mean(each))


def test_nan_among_the_predictions_leaves_it_undefined():
    broken = PREDICTED.copy()
    broken[3, 1] = np.nan
    values = weighted_over_folds(broken, TARGETS, ONES, FOLDS, GENES, ["pearson"])
    assert np.isnan(values["pearson"]).all()


def test_what_is_undefined_in_every_fold_is_undefined():
    values = over_folds(targets=np.zeros((60, 4)))
    assert np.isnan(values["pearson"]).all()
    assert np.isfinite(values["mae"]).all()
