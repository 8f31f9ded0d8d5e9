from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from eva_core.config.protocols import load_protocol
from eva_core.contracts.head import Embedded
from eva_vision.multilabel.contracts import LabelData
from eva_vision.multilabel.logreg_labels import LogRegLabels

HEAD = LogRegLabels()
ONE = replace(load_protocol("eva-0.4"), C=(0.1,))


def made(n: int = 60, dim: int = 8, seed: int = 0) -> Embedded:
    """Labels: of the first feature, a share of the second that a third is not annotated with, and one of all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (n, dim)).astype(np.float32)
    y = np.stack([x[:, 0] > 3, np.round(7 / (1 + np.exp(3 - x[:, 1]))) / 7, np.ones(n)], axis=1).astype(np.float64)
    y[: n // 3, 1] = np.nan
    return Embedded(torch.from_numpy(x), torch.from_numpy(y))


def test_each_label_is_scikit_learns_regression_of_its_own_images():
    train, test = made(), made(seed=1)
    (run,) = HEAD.fit(LabelData(train, test, "auprc"), ONE)
    z = HEAD.logits(run.params, test.x).numpy()
    for label in (0, 1):
        y = train.y[:, label].numpy()
        rows = ~np.isnan(y)
        scaler = StandardScaler().fit(train.x[rows].double())
        x, shares = scaler.transform(train.x[rows].double()), y[rows]
        # a share is an image that counts as one with the label and one without, by it
        both, hard = np.concatenate([x, x]), np.repeat([1, 0], len(x))
        regression = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000)
        regression.fit(both, hard, sample_weight=np.concatenate([shares, 1 - shares]))
        expected = regression.decision_function(scaler.transform(test.x.double()))
        np.testing.assert_allclose(z[:, label], expected, atol=2e-4)
    assert z[:, 2] == pytest.approx(np.full(60, np.log(60.5 / 0.5)), rel=1e-5)  # all have it


def test_one_strength_is_chosen_by_the_main_metric_and_fitted_again_on_both():
    train, select = made(), made(30, seed=1)
    protocol = replace(ONE, C=(1e-6, 1.0), selection="holdout")
    (run,) = HEAD.fit(LabelData(train, select, "brier"), protocol)
    assert run.selected == {"C": 1.0}
    assert 0 < run.selected_value < 0.25
    both = Embedded(torch.cat([train.x, select.x]), torch.cat([train.y, select.y]))
    (again,) = HEAD.fit(LabelData(both, select, "brier"), replace(ONE, C=(1.0,)))
    assert torch.allclose(run.params["weight"], again.params["weight"], atol=1e-5)
    (alone,) = HEAD.fit(LabelData(train, select, "brier"), replace(ONE, C=(1.0,)))
    assert run.held is not None
    assert torch.allclose(run.held["weight"], alone.params["weight"], atol=1e-4)


def test_cross_entropy_chooses_where_no_label_of_the_hold_out_differs():
    train, select = made(), made(10, seed=1)
    same = Embedded(select.x, torch.where(select.y.isnan(), select.y, torch.ones_like(select.y)))
    (run,) = HEAD.fit(LabelData(train, same, "auprc"), replace(ONE, C=(1e-6, 1.0)))
    assert np.isnan(run.selected_value)
    assert run.selected["C"] in (1e-6, 1.0)


def test_nothing_is_random_and_strengths_have_a_default():
    data = LabelData(made(), made(20, seed=1), "auroc")
    (one,), (other,) = (HEAD.fit(data, load_protocol("eva-0.4")) for _ in range(2))
    assert torch.equal(one.params["weight"], other.params["weight"])
    assert HEAD.runs(load_protocol("strict")) == range(1)
