import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_cohen_kappa

from eva_core.classification.kappa import quadratic_kappa


def by_torchmetrics(predicted: np.ndarray, targets: np.ndarray) -> float:
    return multiclass_cohen_kappa(
        torch.from_numpy(predicted), torch.from_numpy(targets), num_classes=6, weights="quadratic"
    ).item()


@pytest.mark.parametrize("seed", range(5))
def test_it_is_that_of_torchmetrics(seed: int):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 6, 80)
    predicted = np.clip(targets + rng.integers(-2, 3, 80), 0, 5)
    (kappa,) = quadratic_kappa(predicted, targets, np.ones((1, 80)))
    assert kappa == pytest.approx(by_torchmetrics(predicted, targets), abs=1e-6)


def test_weights_stand_for_copies():
    rng = np.random.default_rng(0)
    targets, predicted = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    weights = rng.integers(0, 4, (3, 40))
    for value, w in zip(quadratic_kappa(predicted, targets, weights), weights, strict=True):
        copies = np.repeat(np.arange(40), w)
        assert value == pytest.approx(by_torchmetrics(predicted[copies], targets[copies]), abs=1e-6)


def test_a_grade_further_away_costs_more():
    targets = np.array([0, 1, 2, 3, 4, 5])
    near, far = np.array([1, 1, 2, 3, 4, 5]), np.array([4, 1, 2, 3, 4, 5])
    one = np.ones((1, 6))
    assert quadratic_kappa(targets, targets, one)[0] == 1
    assert quadratic_kappa(near, targets, one)[0] > quadratic_kappa(far, targets, one)[0]
    assert quadratic_kappa(targets[::-1], targets, one)[0] == pytest.approx(-1)


def test_one_grade_alone_says_nothing():
    same = np.zeros(4, int)
    assert np.isnan(quadratic_kappa(same, same, np.ones((1, 4)))[0])
    assert np.isnan(quadratic_kappa(np.array([0, 0, 1]), np.array([0, 0, 1]), np.array([[1, 1, 0], [0, 0, 0]]))).all()
