import numpy as np
import pytest
from scipy.stats import binomtest

from eva_core.classification.comparison import mcnemar, paired
from tests.core.scored import (
    CLASSES,
    drawn,
    model,
)


@pytest.fixture
def targets() -> np.ndarray:
    return np.arange(120) % 3


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


def test_copies_of_images_are_no_evidence_once_groups_are_known(targets):
    right = [np.repeat(drawn(p, 1, seed, 12), 10, axis=1) for p, seed in ((0.75, 5), (0.6, 6))]
    a, b = (model(r, targets) for r in right)
    by_image = paired(a, b, targets, CLASSES, None)
    by_group = paired(a, b, targets, CLASSES, [str(i // 10) for i in range(120)])
    assert by_group.p > by_image.p
    assert by_group.grouped
    assert by_group.n_groups == 12
    assert by_group.mcnemar_p is None


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


def test_draws_without_a_class_are_left_out_of_both():
    """Only one model finds the class that a single patient has: a draw without it would say that they are equal."""
    targets = np.repeat([0] * 7 + [1], 5)
    groups = [str(i // 5) for i in range(40)]
    good, blind = (np.eye(3)[guess][None] for guess in (targets, np.zeros(40, int)))
    for metric in ("balanced_accuracy", "f1", "auroc"):
        found = paired(good, blind, targets, CLASSES, groups, metric)
        assert found.ci95 is not None
        assert found.ci95[0] > 0.25
        assert found.left_out / 2000 == pytest.approx((7 / 8) ** 8, abs=0.03)
        assert found.few
        assert found.t95 is None
        assert not found.is_significant(0.001)  # one patient says nothing of others
    assert paired(good, blind, targets, CLASSES, groups, "accuracy").left_out == 0


def test_seeds_are_part_of_the_interval():
    """Many images, on which other seeds alone could give another difference: three seeds of each, far apart."""
    targets = np.arange(3000) % 3
    seeds = [np.concatenate([model(drawn(p, 1, n, 3000), targets) for n, p in enumerate(ps)]) for ps in SEEDS]
    found = paired(*seeds, targets, CLASSES, None, "accuracy")
    assert found.p < 0.01
    assert found.ci95[0] < 0 < found.ci95[1]
    assert not found.is_significant(found.p)
    one = paired(seeds[0][:1], seeds[1][:1], targets, CLASSES, None, "accuracy")
    assert one.is_significant(one.p)


SEEDS = ((0.9, 0.7, 0.75), (0.7, 0.8, 0.7))


def test_calibration_errors_are_compared_without_their_bias():
    """Both models are calibrated, but noise shows on the one that is unsure: percentiles call the other one better."""
    rng = np.random.default_rng(0)
    unsure = rng.uniform(0.05, 0.95, 400)
    targets = (rng.random(400) < unsure).astype(int)
    sure = np.where(targets == 1, 1.0, 0.0)
    scores = [np.stack([1 - p, p], -1)[None] for p in (sure, unsure)]
    found = paired(*scores, targets, CLASSES[:2], None, "ece", draws=300)
    assert found.difference < -0.02  # noise alone
    assert found.ci95 is not None
    assert found.ci95[0] == pytest.approx(found.difference, abs=0.03)
    assert found.ci95[1] > found.difference + 0.02


def test_shapes_that_do_not_fit(targets):
    with pytest.raises(ValueError, match="Expected scores"):
        paired(np.zeros((1, 5, 3)), np.zeros((1, 4, 3)), targets, CLASSES, None)


def test_different_numbers_of_runs_count_each_run_once():
    targets = np.arange(60) % 2
    rng = np.random.default_rng(0)
    a, b = (np.stack([1 - s, s], axis=-1) for s in (rng.random((3, 60)), rng.random((2, 60))))
    from eva_core.classification.metrics import weighted

    means = [np.mean([weighted(r, targets, CLASSES[:2], np.ones((1, 60)))["auroc"][0] for r in m]) for m in (a, b)]
    assert paired(a, b, targets, CLASSES[:2], None, "auroc", draws=50).difference == pytest.approx(means[0] - means[1])


def test_an_undefined_metric_is_no_evidence():
    targets = np.zeros(20, int)
    scores = np.random.default_rng(0).dirichlet([1, 1], (2, 1, 20))
    assert paired(scores[0], scores[1], targets, CLASSES[:2], None, "auroc", draws=50).p is None
