import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from eva_vision.robustness.probe import CS, balanced_accuracy, fit, fit_best
from tests.vision.robustness.example import planted


def data(classes: int) -> tuple[np.ndarray, np.ndarray]:
    x, labels = planted(n=300, classes=classes)
    return x, labels.classes


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("c", [CS[7], CS[8], CS[9]])
def test_as_scikit_learn_fits_it(classes: int, c: float):
    x, y = data(classes)
    probe = fit(torch.from_numpy(x), torch.from_numpy(y), classes, c)
    expected = LogisticRegression(C=c).fit(x.astype(np.float64), y)
    assert probe.weight.numpy() == pytest.approx(expected.coef_, abs=5e-3)
    assert (probe.predict(torch.from_numpy(x)) == expected.predict(x)).mean() > 0.99
    assert balanced_accuracy(probe, torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(
        balanced_accuracy_score(y, probe.predict(torch.from_numpy(x)))
    )


def test_the_validation_set_chooses_the_smallest_of_equals():
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    y = torch.tensor([1, 0, 1, 0])
    assert torch.equal(fit_best((x, y), (x, y), 2).weight, fit(x, y, 2, CS[0]).weight)
