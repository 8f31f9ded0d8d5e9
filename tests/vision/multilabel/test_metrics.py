import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.metrics import by_label, calibration_gaps, weighted
from tests.vision.multilabel.conftest import LABELS, made_up


@pytest.mark.parametrize("seed", range(3))
def test_each_label_is_scikit_learns_on_what_is_annotated_under_weights(seed: int):
    part = made_up(seed=seed)
    odds, targets = part.log_odds[0], part.targets
    weights = np.random.default_rng(seed).integers(0, 3, (4, 80)).astype(np.float64)
    values = weighted(odds, targets, LABELS, weights)
    for draw, w in enumerate(weights):
        for number, label in enumerate(LABELS[:2]):
            rows = ~np.isnan(targets[:, number])
            y, z, of = targets[rows, number], odds[rows, number], w[rows]
            hard, p = y >= 0.5, expit(z.astype(np.float64))
            for name, expected in (
                ("auprc", average_precision_score(hard, z, sample_weight=of)),
                ("auroc", roc_auc_score(hard, z, sample_weight=of)),
                ("f1", f1_score(hard, p >= 0.5, sample_weight=of)),
                ("brier", np.average((p - y) ** 2, weights=of)),
            ):
                assert values[f"{name}/{label}"][draw] == pytest.approx(expected, abs=1e-12), name
        for name in ("auprc", "auroc", "f1"):
            both = [values[f"{name}/{label}"][draw] for label in LABELS[:2]]
            assert values[name][draw] == pytest.approx(np.mean(both))
        assert values["brier"][draw] == pytest.approx(np.mean([values[f"brier/{label}"][draw] for label in LABELS]))
    assert np.isnan([values[f"{name}/never"] for name in ("auprc", "auroc", "f1")]).all()


def test_calibration_error_by_hand():
    p = np.array([0.1, 0.12, 0.9, 0.95])
    odds, targets = np.log(p / (1 - p))[:, None], np.array([0, 1, 1, 0.5])[:, None]
    values = weighted(odds, targets, ["a"], np.ones((1, 4)), ["ece"])
    bins = [(0.1 + 0.12, 0 + 1), (0.9, 1), (0.95, 0.5)]  # 1 / 15 wide: 0.067 to 0.133, 0.867 to 0.933, above
    assert values["ece"][0] == pytest.approx(sum(abs(t - s) for s, t in bins) / 4)
    assert values["ece/a"] == values["ece"]


def test_gaps_are_what_the_calibration_error_sums():
    part = made_up()
    weights = np.random.default_rng(0).integers(1, 3, (5, 80)).astype(np.float64)
    gaps = calibration_gaps(part.log_odds[0], part.targets, weights)
    ece = weighted(part.log_odds[0], part.targets, LABELS, weights, ["ece"])["ece"]
    np.testing.assert_allclose(np.abs(gaps).sum(axis=1), ece)


def test_weights_without_a_positive_leave_the_mean_undefined():
    targets = np.array([[1, 0], [0, 1], [0, 0], [1, 1.0]])
    weights = np.array([[1, 1, 1, 1], [1, 0, 1, 0]])
    values = weighted(np.zeros((4, 2)), targets, ["a", "b"], weights, ["auroc"])
    assert values["auroc"][0] == 0.5
    assert np.isnan(values["auroc"][1])
    assert values["auroc/a"].tolist() == [0.5, 0.5]


def test_a_label_that_nobody_annotated_has_nothing_and_the_others_keep_theirs():
    part = made_up()
    targets = part.targets.copy()
    targets[:, 2] = np.nan
    for name in METRICS:
        values = by_label(part.log_odds[0], targets, np.ones((1, 80)), name)[0]
        assert np.isnan(values).tolist() == [False, False, True]
    assert not np.isnan(weighted(part.log_odds[0], targets, LABELS, np.ones((1, 80)))["brier"]).any()
    assert np.isnan(calibration_gaps(part.log_odds[0], np.full((80, 3), np.nan), np.ones((1, 80)))).all()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="of 2 labels"):
        weighted(np.zeros((4, 2)), np.zeros((4, 3)), ["a", "b"], np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"shape \(draws, 4\)"):
        weighted(np.zeros((4, 2)), np.zeros((4, 2)), ["a", "b"], np.ones((1, 3)))
