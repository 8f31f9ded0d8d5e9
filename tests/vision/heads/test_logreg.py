"""Logistic regression against sklearn."""

import warnings
from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.heads import logreg, logreg_solver
from eva_vision.heads.logreg import LogReg

STRICT = Protocol("test", selection="holdout", C=(1e-3, 0.1, 10.0))


def embeddings(samples: int, classes: int, seed: int, features: int = 20) -> Embedded:
    """Random clouds on features of very different scale and offset; the last feature is constant."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (samples,), generator=generator)
    x = torch.randn(samples, features, generator=generator)
    x[:, :classes] += 1.5 * nn.functional.one_hot(y, classes)
    x = x * torch.logspace(-2, 2, features) + 3
    x[:, -1] = 7
    return Embedded(x, y)


def sklearn_params(part: Embedded, c: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients on raw features by sklearn's L-BFGS on standardised ones."""
    scaler = StandardScaler().fit(part.x.double().numpy())
    model = LogisticRegression(C=c, tol=1e-9, max_iter=10_000).fit(scaler.transform(part.x.double()), part.y.numpy())
    weight = model.coef_ / scaler.scale_
    return torch.from_numpy(weight).float(), torch.from_numpy(model.intercept_ - weight @ scaler.mean_).float()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [1e-6, 1e-2, 1.0, 1e2])
def test_logreg_equals_sklearn(classes: int, c: float) -> None:
    train, select = embeddings(150, classes, 0), embeddings(50, classes, 1)
    (run,) = LogReg().fit(FittingData(train, select, classes, [0]), replace(STRICT, selection="heldout", C=(c,)))
    weight, bias = sklearn_params(train, c)
    torch.testing.assert_close(run.params["weight"], weight, atol=1e-4 * weight.abs().max().item(), rtol=1e-3)
    logits = LogReg().logits(run.params, select.x)
    assert logits.shape == (50, 1 if classes == 2 else classes)
    torch.testing.assert_close(logits, select.x @ weight.T + bias, atol=1e-3, rtol=1e-3)


def test_logreg_is_refitted_on_train_and_holdout_alone() -> None:
    train, select = embeddings(150, 3, 0), embeddings(50, 3, 1)
    both = Embedded(torch.cat([train.x, select.x]), torch.cat([train.y, select.y]))
    for selection, part in (("holdout", both), ("heldout", train)):
        (run,) = LogReg().fit(FittingData(train, select, 3, [0]), replace(STRICT, selection=selection))
        weight, _ = sklearn_params(part, run.selected["C"])
        torch.testing.assert_close(run.params["weight"], weight, atol=1e-4 * weight.abs().max().item(), rtol=1e-3)


def test_logreg_chooses_the_smallest_of_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.75, 0.75, 0.25])
    monkeypatch.setattr(logreg, "selection_metric", lambda name: lambda logits, targets: torch.tensor([next(values)]))
    recipe = replace(STRICT, C=(1.0, 0.1, 0.01, 0.001))
    (run,) = LogReg().fit(FittingData(embeddings(60, 3, 0), embeddings(30, 3, 1), 3, [0, 1, 2]), recipe)
    assert (run.run, run.selected, run.selected_value) == (0, {"C": 0.01}, 0.75)


def test_logreg_is_deterministic_in_chunks_and_restores_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    train, select, before = embeddings(150, 3, 0), embeddings(50, 3, 1), torch.get_num_threads()
    one, two = (LogReg().fit(FittingData(train, select, 3, [0]), STRICT)[0] for _ in range(2))
    assert torch.equal(one.params["weight"], two.params["weight"])
    assert torch.get_num_threads() == before
    monkeypatch.setattr(logreg_solver, "_CHUNK", 7 * train.x.shape[1])
    (chunked,) = LogReg().fit(FittingData(train, select, 3, [0]), STRICT)
    torch.testing.assert_close(chunked.params["weight"], one.params["weight"], atol=1e-5, rtol=1e-4)


def test_logreg_without_c_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"--protocol strict or --protocol\.C"):
        LogReg().fit(FittingData(embeddings(60, 3, 0), embeddings(30, 3, 1), 3, [0]), replace(STRICT, C=()))


def test_logreg_that_does_not_converge_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    train, select = embeddings(60, 3, 0), embeddings(30, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LogReg().fit(FittingData(train, select, 3, [0]), STRICT)
    monkeypatch.setattr(logreg_solver, "_STEPS", 1)
    with pytest.warns(UserWarning, match="logreg did not reach its optimum"):
        assert LogReg().fit(FittingData(train, select, 3, [0]), STRICT)


def lacking(data: Embedded, label: int) -> Embedded:
    return Embedded(data.x[data.y != label], data.y[data.y != label])


def test_a_class_that_the_hold_out_alone_has_counts_as_wrong_until_the_head_is_refitted() -> None:
    train, select = lacking(embeddings(200, 3, 0), 2), embeddings(80, 3, 1)
    (run,) = LogReg().fit(FittingData(train, select, 3, [0]), STRICT)
    assert run.selected_value <= 2 / 3
    assert 2 in LogReg().logits(run.params, select.x).argmax(1)


@pytest.mark.parametrize("c", [1e4, 1e6])
def test_a_refit_with_more_features_than_images_is_solved_too(c: float) -> None:
    train, select, test = (embeddings(n, 4, seed, 120) for seed, n in enumerate((50, 14, 60)))
    both = Embedded(torch.cat([train.x, select.x]), torch.cat([train.y, select.y]))
    (run,) = LogReg().fit(FittingData(train, select, 4, [0]), replace(STRICT, C=(c,)))
    (whole,) = LogReg().fit(FittingData(both, select, 4, [0]), replace(STRICT, selection="heldout", C=(c,)))
    scale = whole.params["weight"].abs().max().item()
    torch.testing.assert_close(run.params["weight"], whole.params["weight"], atol=1e-4 * scale, rtol=1e-3)
    weight, bias = sklearn_params(both, c)
    expected = (test.x @ weight.T + bias).argmax(1)
    assert (LogReg().logits(run.params, test.x).argmax(1) == expected).float().mean() >= 0.98


def test_logreg_on_features_far_from_zero_keeps_its_digits() -> None:
    train, select = embeddings(150, 3, 0), embeddings(50, 3, 1)
    far = [Embedded((part.x - 3) * torch.logspace(2, -2, 20) + 1e4, part.y) for part in (train, select)]
    (run,) = LogReg().fit(FittingData(*far, 3, [0]), replace(STRICT, selection="heldout", C=(1e4,)))
    scaler = StandardScaler().fit(far[0].x.double())
    theirs = LogisticRegression(C=1e4, tol=1e-9, max_iter=10_000).fit(scaler.transform(far[0].x.double()), far[0].y)
    expected = torch.from_numpy(theirs.decision_function(scaler.transform(far[1].x.double()))).float()
    torch.testing.assert_close(LogReg().logits(run.params, far[1].x), expected, atol=1e-2, rtol=1e-3)
