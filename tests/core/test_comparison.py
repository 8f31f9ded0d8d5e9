from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from eva_core.comparison import holm, mcnemar, paired, permutation
from eva_core.stats import members

CLASSES = ["a", "b", "c"]


def model(right: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Right or wrong (R, N) -> scores (R, N, 3)."""
    guesses = np.where(right, targets, (targets + 1) % 3)
    return np.eye(3, dtype=np.float32)[guesses] * 0.7 + 0.1


@pytest.fixture
def targets() -> np.ndarray:
    return np.arange(120) % 3


def drawn(p: float, runs: int, seed: int, n: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).random((runs, n)) < p


def test_a_model_does_not_differ_from_itself(targets):
    scores = model(drawn(0.7, 3, 0), targets)
    found = paired(scores, scores, targets, CLASSES, None)
    assert found.difference == 0
    assert found.ci95 == [0, 0]
    assert found.p == 1
    assert found.mcnemar_p == 1


def test_swapping_the_models_changes_the_sign_and_nothing_else(targets):
    a, b = model(drawn(0.8, 2, 1), targets), model(drawn(0.6, 2, 2), targets)
    there, back = paired(a, b, targets, CLASSES, None), paired(b, a, targets, CLASSES, None)
    assert there.difference == pytest.approx(-back.difference)
    assert there.ci95 == pytest.approx([-back.ci95[1], -back.ci95[0]])
    assert there.p == back.p


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "f1"])
def test_few_groups_are_exchanged_in_all_ways(targets, metric):
    """Against every exchange written out by hand, metric and all."""
    from eva_core.metrics import weighted

    a, b = model(drawn(0.8, 1, 3), targets), model(drawn(0.6, 1, 4), targets)
    groups = np.arange(120) // 20
    by_hand = []
    for swaps in product([False, True], repeat=6):
        swapped = np.array(swaps)[groups]
        mixed = [np.where(swapped[:, None], x, y) for x, y in ((b[0], a[0]), (a[0], b[0]))]
        first, second = (weighted(m, targets, CLASSES, np.ones((1, 120)))[metric][0] for m in mixed)
        by_hand.append(first - second)
    expected = np.mean(np.abs(by_hand) >= abs(by_hand[0]) - 1e-12)
    member, _ = members([str(g) for g in groups], 120)
    observed, p = permutation(a, b, targets, CLASSES, member, metric)
    assert observed == pytest.approx(by_hand[0], abs=1e-9)
    assert p == pytest.approx(expected)


def test_p_is_uniform_where_nothing_differs(targets):
    below = 0
    for trial in range(200):
        a, b = (model(drawn(0.7, 1, 2 * trial + i), targets) for i in range(2))
        below += permutation(a, b, targets, CLASSES, np.arange(120), "accuracy", draws=200)[1] <= 0.1
    assert 8 <= below <= 32  # 20 expected


def test_copies_of_images_are_no_evidence_once_groups_are_known(targets):
    right = [np.repeat(drawn(p, 1, seed, 12), 10, axis=1) for p, seed in ((0.75, 5), (0.6, 6))]
    a, b = (model(r, targets) for r in right)
    by_image = paired(a, b, targets, CLASSES, None)
    by_group = paired(a, b, targets, CLASSES, [str(i // 10) for i in range(120)])
    assert by_group.p > by_image.p
    assert by_group.grouped
    assert by_group.n_groups == 12
    assert by_group.mcnemar_p is None


def test_a_clear_difference_on_many_images_has_a_p_below_one_in_draws():
    targets = np.arange(3000) % 3
    a, b = model(drawn(0.9, 1, 0, 3000), targets), model(drawn(0.6, 1, 1, 3000), targets)
    assert permutation(a, b, targets, CLASSES, np.arange(3000), "balanced_accuracy")[1] < 1e-6


def test_one_group_says_nothing(targets):
    a, b = model(drawn(0.9, 1, 0), targets), model(drawn(0.5, 1, 1), targets)
    found = paired(a, b, targets, CLASSES, ["p"] * 120)
    assert found.p is None
    assert found.ci95 is None


def test_mcnemar_is_the_binomial_test_of_the_discordant(targets):
    a, b = model(drawn(0.8, 1, 7), targets)[0], model(drawn(0.6, 1, 8), targets)[0]
    right, other = a.argmax(1) == targets, b.argmax(1) == targets
    only_a, only_b = (right & ~other).sum(), (~right & other).sum()
    assert mcnemar(a, b, targets) == pytest.approx(binomtest(int(only_a), int(only_a + only_b)).pvalue)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_shapes_that_do_not_fit(targets):
    with pytest.raises(ValueError, match="Expected scores"):
        paired(np.zeros((1, 5, 3)), np.zeros((1, 4, 3)), targets, CLASSES, None)


def test_different_numbers_of_runs_count_each_run_once():
    targets = np.arange(60) % 2
    rng = np.random.default_rng(0)
    a, b = (np.stack([1 - s, s], axis=-1) for s in (rng.random((3, 60)), rng.random((2, 60))))
    from eva_core.metrics import weighted

    means = [np.mean([weighted(r, targets, CLASSES[:2], np.ones((1, 60)))["auroc"][0] for r in m]) for m in (a, b)]
    assert paired(a, b, targets, CLASSES[:2], None, "auroc", draws=50).difference == pytest.approx(means[0] - means[1])


def test_an_undefined_metric_is_no_evidence():
    targets = np.zeros(20, int)
    scores = np.random.default_rng(0).dirichlet([1, 1], (2, 1, 20))
    assert paired(scores[0], scores[1], targets, CLASSES[:2], None, "auroc", draws=50).p is None
