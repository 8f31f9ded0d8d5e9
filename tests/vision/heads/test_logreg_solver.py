"""The solver against scikit-learn's: every C, few and many samples, separable or not, features of every kind."""

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.preprocessing import StandardScaler

from eva_core.contracts.head import Embedded
from eva_vision.heads.logreg_solver import Affine, LogisticRegression, affine

GRID = [10.0**power for power in range(-6, 7)]
FEATURES = ["plain", "scaled", "offset", "constant", "collinear", "low rank", "correlated"]


def clouds(samples: int, features: int, classes: int, apart: float, kind: str = "plain") -> tuple[Embedded, Embedded]:
    """Train and test of as many samples, of classes `apart`; features as `kind` says."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, 2 * samples - classes)])
    x = rng.normal(size=(2 * samples, features)) + apart * rng.normal(size=(classes, features))[y]
    if kind == "scaled":
        x = x * np.logspace(-6, 6, features) + 100 * np.logspace(3, -3, features)
    if kind == "offset":
        x = 0.01 * x + 100
    if kind == "constant":
        x[:, ::3] = 0.1
    if kind == "collinear":
        x[:, features // 2 :] = 2 * x[:, : features - features // 2] + 1
    if kind == "low rank":
        x = x @ rng.normal(size=(features, 4)) @ rng.normal(size=(4, features))
    if kind == "correlated":
        x = x @ (np.linalg.qr(rng.normal(size=(features, features)))[0] * np.logspace(0, -4, features)[:, None])
    x = torch.from_numpy(x.astype(np.float32))
    y = torch.from_numpy(y)
    return Embedded(x[:samples], y[:samples]), Embedded(x[samples:], y[samples:])


def logits(model: Affine, x: torch.Tensor) -> NDArray[np.float64]:
    return affine(x, model.centre, model.weight, model.bias).numpy()


def reference(train: Embedded, test: Embedded, c: float) -> tuple[float, NDArray[np.float64], StandardScaler]:
    """The least objective that scikit-learn finds, its logits on test, and the scaling of train."""
    scaler = StandardScaler().fit(train.x.double().numpy())
    x, y = scaler.transform(train.x.double().numpy()), train.y.numpy()
    best = (np.inf, np.empty(0), scaler)
    for solver, tolerance in (("newton-cholesky", 1e-12), ("lbfgs", 1e-10)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newton-cholesky gives up on Hessians that are nearly singular
            model = Reference(C=c, solver=solver, tol=tolerance, max_iter=10_000).fit(x, y)
        value = objective(model.decision_function(x), model.coef_, y, c)
        if value < best[0]:
            found = model.decision_function(scaler.transform(test.x.double().numpy()))
            best = (value, found.reshape(len(found), -1), scaler)
    return best


def objective(found: NDArray[np.float64], weight: NDArray[np.float64], y: NDArray[np.int64], c: float) -> float:
    """C x sum of the losses + ||W||^2 / 2, as scikit-learn has it."""
    found = found.reshape(len(y), -1)
    if found.shape[1] == 1:
        losses = np.logaddexp(0, (1 - 2 * y) * found[:, 0])
    else:
        losses = logsumexp(found - found[np.arange(len(y)), y][:, None], axis=1)
    return c * losses.sum() + 0.5 * np.square(weight).sum()


def assert_solved(model: Affine, train: Embedded, test: Embedded, c: float) -> None:
    least, theirs, scaler = reference(train, test, c)
    weight = model.weight.numpy() * scaler.scale_
    ours = logits(model, test.x)
    value = objective(logits(model, train.x), weight, train.y.numpy(), c)
    assert value <= least * (1 + 1e-6)
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max() + 1e-6)


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize(("samples", "features"), [(30, 60), (90, 12)], ids=["wide", "tall"])
def test_whatever_the_features_and_the_penalty(samples: int, features: int, kind: str) -> None:
    train, test = clouds(samples, features, 3, 1.0, kind)
    problem, model = LogisticRegression([train], 3), None
    for c in GRID:  # each from the one before
        model = problem.solve(c, model)
        if c in (1e-6, 1e-2, 1e2, 1e6):
            assert_solved(model, train, test, c)


@pytest.mark.parametrize("c", [1e-6, 1.0, 1e4, 1e6])
@pytest.mark.parametrize(("samples", "features"), [(30, 60), (90, 12)], ids=["wide", "tall"])
@pytest.mark.parametrize(("classes", "apart"), [(2, 0.0), (2, 2.0), (6, 0.0), (6, 2.0)])
def test_from_nothing_whether_or_not_classes_come_apart(
    samples: int, features: int, classes: int, apart: float, c: float
) -> None:
    train, test = clouds(samples, features, classes, apart)
    model = LogisticRegression([train], 1 if classes == 2 else classes).solve(c)
    assert_solved(model, train, test, c)


@pytest.mark.parametrize("c", [1.0, 1e6])
def test_a_start_far_away_changes_nothing(c: float) -> None:
    train, test = clouds(40, 80, 3, 1.0)
    other = LogisticRegression([test], 3).solve(1e6)
    ours, again = (LogisticRegression([train], 3).solve(c, start) for start in (None, other))
    np.testing.assert_allclose(logits(again, test.x), logits(ours, test.x), atol=1e-4 * ours.weight.norm().item())


def test_a_start_that_is_sure_and_wrong_is_left() -> None:
    train, test = clouds(60, 200, 4, 0.3)
    other = LogisticRegression([Embedded(train.x[:40], train.y[:40])], 4).solve(1e6)
    assert_solved(LogisticRegression([train], 4).solve(1e6, other), train, test, 1e6)


@pytest.mark.parametrize("c", [1.0, 1e6])
def test_the_same_images_with_other_labels_and_one_image_of_a_class(c: float) -> None:
    train, test = clouds(40, 10, 3, 1.0)
    y = torch.where(train.y == 2, 0, train.y)
    y[5] = 2
    x = torch.cat([train.x, train.x[:10]])
    train = Embedded(x, torch.cat([y, (y[:10] + 1) % 2]))
    assert_solved(LogisticRegression([train], 3).solve(c), train, test, c)


def test_features_that_tell_nothing_leave_the_bias() -> None:
    y = torch.tensor([0, 0, 0, 1])
    model = LogisticRegression([Embedded(torch.full((4, 3), 0.1), y)], 1).solve(1e6)
    assert not model.weight.any()
    assert model.bias.item() == pytest.approx(np.log(1 / 3), rel=1e-5)


def test_samples_in_parts_are_the_same_samples() -> None:
    train, test = clouds(90, 12, 3, 1.0)
    parts = [Embedded(train.x[rows], train.y[rows]) for rows in (slice(50), slice(50, 90))]
    ours, again = LogisticRegression(parts, 3).solve(10.0), LogisticRegression([train], 3).solve(10.0)
    np.testing.assert_allclose(logits(ours, test.x), logits(again, test.x), atol=1e-6)
