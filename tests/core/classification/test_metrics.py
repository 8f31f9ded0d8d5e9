import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)

from eva_core.classification import metrics
from eva_core.errors import UsageError

CASES = [  # images, classes, distinct score levels (few: ties), classes absent from the targets
    pytest.param(60, 2, 1000, (), id="binary"),
    pytest.param(60, 2, 4, (), id="binary-ties"),
    pytest.param(60, 4, 1000, (), id="multiclass"),
    pytest.param(60, 4, 3, (), id="multiclass-ties"),
    pytest.param(60, 4, 3, (1, 3), id="absent-classes"),
    pytest.param(30, 2, 1000, (0,), id="binary-one-class"),
    pytest.param(1, 3, 1000, (), id="one-image"),
]


def names(count: int) -> list[str]:
    return [f"c{i}" for i in range(count)]


def synthetic(n: int, count: int, levels: int, absent: tuple[int, ...] = (), seed: int = 0):
    """Probabilities (N, C) and targets (N,)."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([c for c in range(count) if c not in absent], size=n)
    raw = rng.integers(1, levels + 1, (n, count)) + (levels / 2) * np.eye(count)[targets]
    return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32), targets


def assert_same(values: dict[str, float | None], arrays: dict[str, np.ndarray], draw: int, classes: list[str]) -> None:
    assert tuple(values) == tuple(arrays) == metrics.keys(classes)
    for name, value in values.items():
        expected = np.nan if value is None else value
        np.testing.assert_allclose(arrays[name][draw], expected, atol=1e-6, rtol=0, err_msg=name)


@pytest.mark.parametrize(("n", "count", "levels", "absent"), CASES)
def test_weighted_by_ones_is_evaluate(n, count, levels, absent):
    scores, targets = synthetic(n, count, levels, absent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = metrics.evaluate(torch.from_numpy(scores), torch.from_numpy(targets), names(count))
        arrays = metrics.weighted(scores, targets, names(count), np.ones((1, n)))
    assert not any(value is not None and np.isnan(value) for value in values.values())
    assert_same(values, arrays, 0, names(count))


@pytest.mark.parametrize(("n", "count", "levels", "absent"), CASES)
def test_integer_weights_are_repeated_samples(n, count, levels, absent):
    scores, targets = synthetic(n, count, levels, absent)
    weights = np.random.default_rng(1).integers(0, 4, (5, n))
    weights[:, 0] = 1
    arrays = metrics.weighted(scores, targets, names(count), weights)
    for draw, row in enumerate(weights):
        repeated = torch.from_numpy(scores.repeat(row, axis=0)), torch.from_numpy(targets.repeat(row))
        assert_same(metrics.evaluate(*repeated, names(count)), arrays, draw, names(count))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12), count=st.integers(2, 4), levels=st.sampled_from([1, 2, 50]), seed=st.integers(0, 2**32 - 1)
)
def test_weighted_is_evaluate_on_small_samples(n, count, levels, seed):
    scores, targets = synthetic(n, count, levels, seed=seed)
    row = np.random.default_rng(seed).integers(0, 3, n)
    arrays = metrics.weighted(scores, targets, names(count), row[None])
    repeated = torch.from_numpy(scores.repeat(row, axis=0)), torch.from_numpy(targets.repeat(row))
    expected = metrics.evaluate(*repeated, names(count))
    lacking = set(targets) - set(targets.repeat(row))  # what needs these classes is undefined
    if lacking:
        expected.update(
            dict.fromkeys(("balanced_accuracy", "auroc", "auprc", "f1", *(f"f1/c{c}" for c in lacking)), None)
        )
    assert_same(expected, arrays, 0, names(count))


@pytest.mark.parametrize("count", [2, 3])
def test_a_weighting_without_a_class_has_no_score_that_needs_it(count):
    targets = np.array([0, 0, 0, 0, 1])
    scores = np.tile(np.eye(count)[0], (5, 1))  # never the second class, and never the third, which no image has
    arrays = metrics.weighted(scores, targets, names(count), np.array([[1, 1, 1, 1, 1], [2, 1, 1, 1, 0]]))
    undefined = {name for name, values in arrays.items() if np.isnan(values[1])}
    assert undefined - {"recall/c2", "f1/c2", "auroc/c2", "auprc/c2"} == {
        *("balanced_accuracy", "auroc", "f1", "recall/c1", "f1/c1", "auroc/c0", "auroc/c1"),
        *("auprc", "auprc/c0", "auprc/c1", "quadratic_kappa"),
    }
    assert arrays["balanced_accuracy"][0] == 0.5
    assert arrays["f1"][0] == pytest.approx(8 / 9 / 2)
    assert arrays["accuracy"].tolist() == [0.8, 1]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_not_finite(broken):
    scores, targets = synthetic(10, 3, 9)
    scores[3] = metrics.probabilities(torch.tensor([[broken, 0.0, 0.0]])).numpy()
    assert set(metrics.evaluate(torch.from_numpy(scores), torch.from_numpy(targets), names(3)).values()) == {None}
    arrays = metrics.weighted(scores, targets, names(3), np.ones((2, 10)), ["accuracy", "auroc/c1"])
    assert list(arrays) == ["accuracy", "auroc/c1"]
    assert np.isnan([*arrays.values()]).all()


def test_blocks_do_not_change_values(monkeypatch):
    scores, targets = synthetic(40, 3, 5)
    weights = np.random.default_rng(0).random((9, 40))
    whole = metrics.weighted(scores, targets, names(3), weights)
    monkeypatch.setattr(metrics, "_BLOCK", 80)
    for name, values in metrics.weighted(scores, targets, names(3), weights).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12, err_msg=name)


def test_fractional_weights_are_sklearns():
    scores, targets = synthetic(50, 2, 6)
    weights = np.random.default_rng(0).random(50)
    arrays = metrics.weighted(scores, targets, names(2), weights[None])
    predictions = scores.argmax(axis=1)
    assert arrays["auroc"][0] == pytest.approx(roc_auc_score(targets, scores[:, 1], sample_weight=weights))
    assert arrays["f1"][0] == pytest.approx(f1_score(targets, predictions, average="macro", sample_weight=weights))
    expected = average_precision_score(targets, scores[:, 1], sample_weight=weights)
    assert arrays["auprc"][0] == pytest.approx(expected)
    expected = brier_score_loss(targets, scores[:, 1], sample_weight=weights)
    assert arrays["brier"][0] == pytest.approx(expected, abs=1e-6)
    expected = balanced_accuracy_score(targets, predictions, sample_weight=weights)
    assert arrays["balanced_accuracy"][0] == pytest.approx(expected)


@pytest.mark.parametrize(("n", "count", "levels", "absent"), CASES)
def test_metrics_of_rare_classes_and_probabilities_are_sklearns(n, count, levels, absent):
    scores, targets = synthetic(n, count, levels, absent)
    values = metrics.evaluate(torch.from_numpy(scores), torch.from_numpy(targets), names(count))
    there = [c for c in range(count) if 0 < (targets == c).sum() < n]
    each = {c: average_precision_score(targets == c, scores[:, c]) for c in there}
    for c in range(count):
        assert values[f"auprc/c{c}"] == (pytest.approx(each[c], abs=1e-6) if c in each else None)
    mean = each.get(1) if count == 2 else np.mean([*each.values()]) if each else None
    assert values["auprc"] == (None if mean is None else pytest.approx(mean, abs=1e-6))
    sure = scores.astype(np.float64) / scores.sum(1, keepdims=True, dtype=np.float64)
    truth, said = (targets == 1, sure[:, 1]) if count == 2 else (targets, sure)
    labels = [False, True] if count == 2 else [*range(count)]
    assert values["brier"] == pytest.approx(brier_score_loss(truth, said, labels=labels), abs=1e-6)
    if n > 1:
        kappa = cohen_kappa_score(targets, scores.argmax(1), weights="quadratic", labels=[*range(count)])
        assert values["quadratic_kappa"] == pytest.approx(kappa)


def test_values_by_hand():
    scores = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.8, 0.2]])
    values = metrics.evaluate(scores, torch.tensor([0, 0, 1, 1]), ["benign", "tumour"])
    assert values["accuracy"] == pytest.approx(0.75)
    assert values["balanced_accuracy"] == pytest.approx(0.75)
    assert values["recall/benign"] == 1
    assert values["recall/tumour"] == 0.5
    assert values["f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert values["auroc"] == values["auroc/tumour"] == pytest.approx(0.75)
    assert values["ece"] == pytest.approx((0.1 + 0.4 + 0.3 + 0.8) / 4)


def test_absent_classes_are_none_and_left_out_of_means():
    scores = torch.tensor([[0.8, 0.1, 0.1, 0.0], [0.1, 0.7, 0.2, 0.0], [0.2, 0.1, 0.7, 0.0]])
    values = metrics.evaluate(scores, torch.tensor([0, 1, 1]), ["a", "b", "predicted_only", "absent"])
    assert values["balanced_accuracy"] == pytest.approx(0.75)
    assert values["recall/predicted_only"] is None
    assert values["auroc/predicted_only"] is None
    assert values["f1/predicted_only"] == 0
    assert values["f1/absent"] is None
    assert values["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_no_images_leave_everything_undefined():
    values = metrics.evaluate(torch.empty(0, 3), torch.empty(0, dtype=torch.long), names(3))
    assert set(values.values()) == {None}
    arrays = metrics.weighted(np.empty((0, 3)), np.empty(0, dtype=int), names(3), np.ones((2, 0)))
    assert np.isnan(np.stack(list(arrays.values()))).all()


def test_shapes_are_checked():
    scores, targets = synthetic(10, 3, 9)
    with pytest.raises(ValueError, match=r"shape \(10, 4\), but got \(10, 3\)"):
        metrics.evaluate(torch.from_numpy(scores), torch.from_numpy(targets), names(4))
    with pytest.raises(ValueError, match=r"shape \(draws, 10\)"):
        metrics.weighted(scores, targets, names(3), np.ones((2, 9)))


@pytest.mark.parametrize("name", metrics.NAMES)
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_selection_metric_is_evaluate(name, columns):
    generator = torch.Generator().manual_seed(0)
    count = max(2, columns)
    logits = torch.randn(5, 50, columns, generator=generator)
    targets = torch.randint(count, (50,), generator=generator)
    values = metrics.selection_metric(name)(logits, targets)
    expected = [metrics.evaluate(metrics.probabilities(run), targets, names(count))[name] for run in logits]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_selection_metric_with_an_absent_class():
    logits = torch.eye(4)[[0, 1, 2, 1]][None]
    targets = torch.tensor([0, 1, 1, 1])
    for name in metrics.NAMES:
        scores = metrics.probabilities(logits[0])
        expected = metrics.evaluate(scores, targets, names(4), metrics.log_odds(logits[0]))[name]
        assert metrics.selection_metric(name)(logits, targets).item() == pytest.approx(expected)
    assert metrics.selection_metric("auroc")(logits, torch.zeros(4, dtype=torch.long)).isnan().all()


def test_selection_metric_does_not_change_its_arguments():
    logits, targets = torch.randn(2, 8, 3), torch.arange(8) % 3
    before = logits.clone(), targets.clone()
    for name in metrics.NAMES:
        metrics.selection_metric(name)(logits, targets)
    assert torch.equal(logits, before[0])
    assert torch.equal(targets, before[1])


def test_unknown_selection_metric():
    with pytest.raises(UsageError, match=r"one of balanced_accuracy, .* but got kappa"):
        metrics.selection_metric("kappa")


def test_probabilities():
    torch.testing.assert_close(metrics.probabilities(torch.tensor([[0.0], [2.0]]))[:, 1], torch.tensor([0.5, 0.880797]))
    scores = metrics.probabilities(torch.randn(6, 1, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(6))
    logits = torch.randn(6, 3)
    torch.testing.assert_close(metrics.probabilities(logits), logits.softmax(dim=1))


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_log_odds_are_those_of_the_probabilities(columns):
    logits = torch.randn(200, columns, generator=torch.Generator().manual_seed(0)) * 3
    odds = metrics.log_odds(logits)
    exact = logits.double()
    exact = torch.cat([-exact / 2, exact / 2], 1) if columns == 1 else exact
    torch.testing.assert_close(odds, exact.softmax(1).logit().float())
    torch.testing.assert_close(odds.sigmoid(), metrics.probabilities(logits))


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("shift", [-300.0, 0.0, 300.0])
def test_auroc_ranks_what_rounds_to_certainty(columns, shift):
    """Against scikit-learn on logits; every probability is 0 or 1 in float32 where logits are shifted."""
    rng = np.random.default_rng(0)
    count = max(2, columns)
    targets = np.arange(80) % count
    logits = rng.normal(0, 8, (80, columns)) + 4 * (
        targets[:, None] if columns == 1 else np.eye(count)[targets][:, :columns]
    )
    logits[:, -1] += shift
    scores, odds = (f(torch.from_numpy(logits)) for f in (metrics.probabilities, metrics.log_odds))
    by = logits[:, 0] if columns == 1 else logits[:, 1] - logits[:, 0]
    exact = [by] if count == 2 else [logits[:, c] - np.logaddexp.reduce(np.delete(logits, c, 1), 1) for c in range(4)]
    each = [roc_auc_score(targets == (1 if count == 2 else c), values) for c, values in enumerate(exact)]
    values = metrics.evaluate(scores, torch.from_numpy(targets), names(count), odds)
    assert values["auroc"] == pytest.approx(np.mean(each), abs=1e-6)
    arrays = metrics.weighted(scores.numpy(), targets, names(count), np.ones((1, 80)), ranking=odds.numpy())
    assert arrays["auroc"][0] == pytest.approx(np.mean(each), abs=1e-12)
    selected = metrics.selection_metric("auroc")(torch.from_numpy(logits)[None], torch.from_numpy(targets))
    assert selected.item() == pytest.approx(np.mean(each), abs=1e-6)
    if shift and count == 2:
        assert metrics.evaluate(scores, torch.from_numpy(targets), names(count))["auroc"] == pytest.approx(0.5, abs=0.1)


def test_the_same_logits_in_other_classes_tie():
    logits = torch.tensor([[0.1, 0.7, 0.3], [0.1, 0.3, 0.7], [0.1, 0.7, 0.3]])
    assert len(metrics.log_odds(logits)[:, 0].unique()) == 1
    votes = torch.tensor([[0.3, 0.1, 0.6], [0.3, 0.2, 0.5], [0.3, 0.45, 0.25]], dtype=torch.float64)
    assert len(metrics.log_odds(votes.log())[:, 0].unique()) == 1  # but for the last digit of a float64
    unseen = metrics.log_odds(torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 0.0, -torch.inf]]))
    assert unseen[:, 2].tolist() == [-torch.inf] * 2
    assert unseen[:, 0].tolist() == [-1, 2]
