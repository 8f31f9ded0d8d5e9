"""kNN and SimpleShot against scikit-learn, and what only they do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from eva_core.classification.metrics import evaluate, probabilities
from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.evaluation.holdout import few
from eva_vision.heads.neighbours import Knn, SimpleShot

RECIPE = Protocol("test")


@pytest.fixture
def data() -> tuple[Embedded, Embedded]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(150) % 3
    x = torch.randn(150, 6, generator=generator) + 1.2 * torch.eye(6)[y]
    return Embedded(x[:90], y[:90]), Embedded(x[90:], y[90:])


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_votes_as_scikit_learn_does(data, k):
    train, select = data
    (run,) = Knn(k=(k,)).fit(FittingData(train, select, 3, [0]), RECIPE)
    ours = probabilities(Knn().logits(run.params, select.x)).numpy()
    unit = [torch.nn.functional.normalize(part.x).numpy() for part in data]
    theirs = KNeighborsClassifier(k, weights=lambda d: np.exp(-(d**2) / 2 / 0.07)).fit(unit[0], train.y)
    np.testing.assert_allclose(ours, theirs.predict_proba(unit[1]), atol=1e-4)


def test_k_is_chosen_on_the_selecting_samples_and_bounded_by_the_bank(data):
    train, select = data
    (run,) = Knn().fit(FittingData(train, select, 3, [0]), RECIPE)
    values = {k: Knn(k=(k,)).fit(FittingData(train, select, 3, [0]), RECIPE)[0].selected_value for k in Knn().k}
    assert run.selected_value == max(values.values())
    assert run.selected["k"] == min(k for k, value in values.items() if value == run.selected_value)
    (all_of_them,) = Knn(k=(1000,)).fit(FittingData(train, select, 3, [0]), RECIPE)
    assert all_of_them.selected["k"] == 90


def test_a_hold_out_joins_the_bank(data):
    train, select = data
    (run,) = Knn().fit(FittingData(train, select, 3, [0]), replace(RECIPE, selection="holdout"))
    assert len(run.params["bank"]) == 150


def test_simpleshot_is_the_nearest_centroid_of_its_shots(data):
    train, select = data
    (run,) = SimpleShot(shots=4).fit(FittingData(train, select, 3, [7]), RECIPE)
    rows = few(train.y, 4, 7)
    assert train.y[rows].bincount().tolist() == [4, 4, 4]
    unit = [torch.nn.functional.normalize(x - train.x.mean(0)).numpy() for x in (train.x[rows], select.x)]
    theirs = NearestCentroid().fit(unit[0], train.y[rows]).predict(unit[1])
    assert SimpleShot().logits(run.params, select.x).argmax(1).tolist() == theirs.tolist()


def test_more_shots_are_better_and_vary_less(data):
    train, select = data
    values = {
        s: [r.selected_value for r in SimpleShot(s).fit(FittingData(train, select, 3, range(60)), RECIPE)]
        for s in (1, 16)
    }
    assert np.mean(values[16]) > np.mean(values[1])
    assert np.std(values[16]) < np.std(values[1])


def test_a_class_with_fewer_images_than_shots_gives_all():
    y = torch.tensor([0] * 10 + [1] * 2)
    assert y[few(y, 5, 0)].bincount().tolist() == [5, 2]


@pytest.mark.parametrize(
    "build", [lambda: Knn(k=()), lambda: Knn(k=(0,)), lambda: SimpleShot(0), lambda: SimpleShot(1, 0)]
)
def test_arguments_that_make_no_sense(build):
    with pytest.raises(UsageError, match="at least 1"):
        build()


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_knn_ties_stay_ties(classes):
    """With one neighbour the votes know two values, so that AUROC is the mean of sensitivity and specificity."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(60 * classes) // 2 % classes
    x = torch.randn(len(y), 5, generator=generator) + 0.3 * torch.randn(7, 5, generator=generator)[y]
    train, test = Embedded(x[::2], y[::2]), Embedded(x[1::2], y[1::2])
    (run,) = Knn(k=(1,)).fit(FittingData(train, test, classes, [0]), RECIPE)
    logits = Knn().logits(run.params, test.x)
    predicted = logits.argmax(1)
    names = [str(label) for label in range(classes)]
    found = evaluate(probabilities(logits), test.y, names)
    for label in range(classes):
        hits = (predicted == label).double()
        expected = (hits[test.y == label].mean() + 1 - hits[test.y != label].mean()) / 2
        assert found[f"auroc/{label}"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_class_without_votes_has_one_probability_whatever_the_others_have(data):
    train, select = data
    (run,) = Knn(k=(5,)).fit(FittingData(train, select, 3, [0]), RECIPE)
    logits = Knn().logits(run.params, select.x)
    for column in probabilities(logits).T:
        assert len(column[column < column.min() + 1e-4].unique()) == 1
