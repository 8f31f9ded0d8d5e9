import warnings
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from eva_core.classification import metrics
from eva_core.statistics import intervals as stats

CLASSES = ["benign", "tumour"]


def answers(right: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong (R, N) -> scores (R, N, 2) and targets (N,)."""
    targets = np.random.default_rng(seed).integers(2, size=right.shape[1])
    return np.eye(2, dtype=np.float32)[np.where(right, targets, 1 - targets)] * 0.8 + 0.1, targets


def interval(scores, targets, classes, groups, **options) -> stats.Intervals:
    """Of a classifier."""
    measures = [partial(metrics.weighted, run, targets, classes) for run in scores]
    return stats.interval(measures, len(targets), groups, **options)


def width(bounds: list[float] | None) -> float:
    assert bounds is not None
    return bounds[1] - bounds[0]


def test_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        scores, targets = answers(rng.random((1, 80)) < 0.7, seed=trial)
        bounds = interval(scores, targets, CLASSES, None, draws=200, seed=trial).ci95["accuracy"]
        assert bounds is not None
        covered += bounds[0] <= 0.7 <= bounds[1]
    assert 87 <= covered <= 100


def test_only_group_intervals_cover_when_images_of_a_group_are_alike():
    rng = np.random.default_rng(0)
    groups = [f"patient{i // 6}" for i in range(180)]
    covered = {"group": 0, "image-level, optimistic": 0}
    for trial in range(40):
        scores, targets = answers((rng.random((1, 30)) < 0.7).repeat(6, axis=1), seed=trial)
        for known in (groups, None):
            result = interval(scores, targets, CLASSES, known, draws=100, seed=trial)
            bounds = result.ci95["accuracy"]
            assert bounds is not None
            covered[result.kind] += bounds[0] <= 0.7 <= bounds[1]
    assert covered["group"] >= 33
    assert covered["image-level, optimistic"] <= 28


def test_correlated_groups_widen_the_interval():
    right = (np.random.default_rng(0).random((1, 40)) < 0.8).repeat(9, axis=1)
    scores, targets = answers(right)
    by_group = interval(scores, targets, CLASSES, [str(i // 9) for i in range(360)], draws=500)
    by_image = interval(scores, targets, CLASSES, None, draws=500)
    assert (by_group.kind, by_group.n_groups) == ("group", 40)
    assert (by_image.kind, by_image.n_groups) == ("image-level, optimistic", 360)
    # nine copies of every image: sqrt(9) times as wide
    assert 2.4 < width(by_group.ci95["accuracy"]) / width(by_image.ci95["accuracy"]) < 3.6


def test_spread_between_runs_widens_the_interval():
    rng = np.random.default_rng(0)
    alike, targets = answers((rng.random((1, 300)) < 0.8).repeat(5, axis=0))
    apart, _ = answers(rng.random((5, 300)) < np.array([0.6, 0.7, 0.8, 0.9, 1.0])[:, None])
    narrow = interval(alike, targets, CLASSES, None, draws=500).ci95["accuracy"]
    wide = interval(apart, targets, CLASSES, None, draws=500).ci95["accuracy"]
    assert width(wide) > 3 * width(narrow)


def test_same_runs_give_the_interval_of_one():
    one, targets = answers(np.random.default_rng(0).random((1, 60)) < 0.8)
    five = one.repeat(5, axis=0)
    single, repeated = (interval(s, targets, CLASSES, None, draws=100) for s in (one, five))
    assert single.ci95["accuracy"] == repeated.ci95["accuracy"]


def test_percentiles_are_those_of_resampled_copies(monkeypatch):
    monkeypatch.setattr(stats, "_BLOCK", 100)  # several blocks
    scores, targets = answers(np.random.default_rng(0).random((1, 30)) < 0.7)
    groups = [str(i % 12) for i in range(30)]
    values = []
    for draw in range(50):
        drawn = np.random.default_rng([3, draw]).integers(12, size=12)
        images = np.concatenate([np.flatnonzero(np.arange(30) % 12 == group) for group in drawn])
        copies = torch.from_numpy(scores[0, images]), torch.from_numpy(targets[images])
        values.append(metrics.evaluate(*copies, CLASSES)["f1"])
    result = interval(scores, targets, CLASSES, groups, draws=50, seed=3)
    assert result.ci95["f1"] == pytest.approx(list(np.quantile(values, [0.025, 0.975])), abs=1e-6)


def test_deterministic_given_the_seed():
    scores, targets = answers(np.random.default_rng(0).random((3, 50)) < 0.7)
    first, again, other = (interval(scores, targets, CLASSES, None, draws=100, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.ci95 != other.ci95


def test_undefined_draws_are_dropped_and_undefined_metrics_are_none():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1, 1], size=(2, 12))
    targets = np.array([0] * 10 + [1] * 2)  # the second class is often not drawn, the third never
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = interval(scores, targets, ["a", "b", "absent"], None, draws=200)
    assert tuple(result.ci95) == metrics.keys(["a", "b", "absent"])
    assert result.ci95["recall/absent"] is None
    assert result.ci95["auroc/absent"] is None
    assert result.ci95["recall/b"] is not None
    assert result.t95 is not None
    for bounds in (*result.ci95.values(), *result.t95.values()):
        assert bounds is None or 0 <= bounds[0] <= bounds[1] <= 1


@pytest.mark.parametrize(("n_groups", "expected"), [(2, True), (19, True), (20, False)])
def test_t_interval_only_for_few_groups(n_groups, expected):
    scores, targets = answers(np.random.default_rng(0).random((2, 80)) < 0.7)
    result = interval(scores, targets, CLASSES, [str(i % n_groups) for i in range(80)], draws=20)
    assert result.n_groups == n_groups
    assert (result.t95 is not None) is expected


def test_t_interval_is_the_textbook_one_for_a_mean():
    right = np.random.default_rng(0).random((2, 60)) < 0.6
    scores, targets = answers(right)
    result = interval(scores, targets, CLASSES, [str(i // 5) for i in range(60)], draws=20)
    means = right.mean(axis=0).reshape(12, 5).mean(axis=1)  # accuracy of equal groups is the mean of theirs
    expected = scipy_stats.t.interval(0.95, 11, loc=means.mean(), scale=scipy_stats.sem(means))
    assert result.t95 is not None
    assert result.t95["accuracy"] == pytest.approx(list(expected))


def test_t_interval_is_none_where_one_group_alone_has_a_class():
    scores, _ = answers(np.random.default_rng(0).random((1, 12)) < 0.7)
    targets = np.array([1] * 2 + [0] * 10)
    result = interval(scores, targets, CLASSES, [str(i // 2) for i in range(12)], draws=50)
    assert result.t95 is not None
    assert result.t95["recall/tumour"] is None
    assert result.t95["accuracy"] is not None


def test_one_group_has_no_interval():
    scores, targets = answers(np.random.default_rng(0).random((2, 20)) < 0.7)
    result = interval(scores, targets, CLASSES, ["patient"] * 20)
    assert (result.kind, result.n_groups, result.t95) == ("group", 1, None)
    assert set(result.ci95.values()) == {None}


def test_images_without_a_group_are_their_own():
    scores, targets = answers(np.random.default_rng(0).random((1, 6)) < 0.7)
    some = interval(scores, targets, CLASSES, ["a", "a", None, None, "b", "a"], draws=10)
    assert (some.kind, some.n_groups) == ("group", 4)
    none = interval(scores, targets, CLASSES, [None] * 6, draws=10)
    assert none == interval(scores, targets, CLASSES, None, draws=10)


def test_a_mean_over_images_by_any_measure():
    values = np.random.default_rng(0).random((2, 40))
    measures = [lambda weights, run=run: {"dice": weights @ run / weights.sum(axis=1)} for run in values]
    with np.errstate(invalid="ignore"):
        result = stats.interval(measures, 40, None, draws=400)
    pooled = np.concatenate([values[0], values[1]])
    assert result.ci95["dice"] == pytest.approx(
        [pooled.mean() - 1.96 * pooled.std() / 40**0.5, pooled.mean() + 1.96 * pooled.std() / 40**0.5], abs=0.02
    )


def test_nothing_measured_has_no_interval():
    result = interval(np.empty((2, 0, 2), np.float32), np.empty(0, int), CLASSES, None, draws=5)
    assert result.n_groups == 0
    assert set(result.ci95.values()) == {None}


def test_shapes_are_checked():
    scores, targets = answers(np.ones((1, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"shape \(4, 2\), but got \(2,\)"):
        interval(scores[0], targets, CLASSES, None)
    with pytest.raises(ValueError, match="at least one run, but got none"):
        interval(scores[:0], targets, CLASSES, None)
    with pytest.raises(ValueError, match="one group for each of 4 samples, but got 3"):
        interval(scores, targets, CLASSES, ["a", "b", "c"])


def never_finds(groups_with_rare: int, n_groups: int = 12) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A head that never finds the second class, five images a group: scores (1, N, 2), targets (N,), groups."""
    targets = np.repeat(np.arange(n_groups) < groups_with_rare, 5).astype(int)
    return np.tile([0.9, 0.1], (1, len(targets), 1)), targets, [str(i // 5) for i in range(len(targets))]


@pytest.mark.parametrize("groups_with_rare", [1, 2, 5])
@pytest.mark.parametrize("metric", ["balanced_accuracy", "f1", "auroc"])
def test_draws_without_a_class_do_not_count(groups_with_rare, metric):
    scores, targets, groups = never_finds(groups_with_rare)
    result = interval(scores, targets, CLASSES, groups)
    bounds = result.ci95[metric]
    assert bounds is not None
    assert bounds[1] <= 0.5
    # none of the groups with the class among as many as there are
    assert result.left_out[metric] / 2000 == pytest.approx((1 - groups_with_rare / 12) ** 12, abs=0.03)
    assert result.left_out["accuracy"] == 0
    assert result.t95 is not None
    assert (result.t95[metric] is None) is (groups_with_rare == 1)


def test_the_interval_is_that_of_the_draws_with_every_class():
    rng = np.random.default_rng(5)
    targets = np.repeat([0, 0, 0, 1, 1, 2], 4)
    scores = rng.dirichlet([1, 1, 1], (1, 24))
    groups = np.repeat(np.arange(6), 4)
    values = []
    for draw in range(300):
        images = np.concatenate(
            [np.flatnonzero(groups == g) for g in np.random.default_rng([0, draw]).integers(6, size=6)]
        )
        if len(set(targets[images])) == 3:
            copies = torch.from_numpy(scores[0, images]), torch.from_numpy(targets[images])
            values.append(metrics.evaluate(*copies, ["a", "b", "c"])["f1"])
    result = interval(scores, targets, ["a", "b", "c"], [str(g) for g in groups], draws=300)
    assert result.ci95["f1"] == pytest.approx(list(np.quantile(values, [0.025, 0.975])), abs=1e-6)
    assert result.left_out["f1"] == 300 - len(values)


@pytest.mark.parametrize("n_groups", [2, 3, 6])
def test_groups_with_a_class_each_say_nothing_of_others(n_groups):
    """Every draw that counts is the groups as they are, or next to none counts: no interval, not one of no width."""
    targets = np.repeat(np.arange(n_groups), 10)
    scores = np.random.default_rng(0).dirichlet(np.ones(n_groups), (1, 10 * n_groups))
    result = interval(scores, targets, [str(c) for c in range(n_groups)], [str(t) for t in targets])
    assert result.ci95["balanced_accuracy"] is None
    assert result.t95 is not None
    assert result.t95["balanced_accuracy"] is None
    assert result.ci95["accuracy"] is not None


def test_three_rare_classes_still_have_an_interval():
    targets = np.array([0] * 97 + [1, 2, 3])
    scores = np.random.default_rng(0).dirichlet(np.ones(4), (1, 100))
    result = interval(scores, targets, list("abcd"), None)
    assert result.ci95["balanced_accuracy"] is not None
    assert result.left_out["balanced_accuracy"] / 2000 == pytest.approx(1 - (1 - np.exp(-1)) ** 3, abs=0.03)


def test_draws_that_one_score_lacks_are_replaced_in_all():
    draws = np.random.default_rng(0).random((3, 50))
    whole = stats.filled(draws)
    assert whole is not None
    assert np.array_equal(whole, draws)
    draws[1, :20] = np.nan
    whole = stats.filled(draws)
    assert whole is not None
    assert np.array_equal(whole[:, 20:], draws[:, 20:])
    columns = {tuple(column) for column in draws[:, 20:].T}
    assert {tuple(column) for column in whole[:, :20].T} <= columns
    draws[2, :45] = np.nan
    assert stats.filled(draws) is None


def test_runs_are_drawn_one_less_than_there_are():
    drawn = stats.drawn_runs(5, 4000, 0)
    assert drawn.sum(axis=1) == pytest.approx(1)
    assert set(np.unique(drawn * 4).round(9)) == {0, 1, 2, 3, 4}
    values = np.random.default_rng(0).normal(size=5)
    assert (drawn @ values).var() == pytest.approx(values.var(ddof=1) / 5, rel=0.1)  # of their mean
    assert np.array_equal(drawn, stats.drawn_runs(5, 4000, 0))
    assert np.array_equal(stats.drawn_runs(1, 3, 0), np.ones((3, 1)))


def test_a_t_interval_of_two_parts_has_the_freedom_of_satterthwaite():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 6), rng.normal(0, 3, 4)
    parts = [(v.var(ddof=1) / len(v), len(v) - 1) for v in (a, b)]
    expected = scipy_stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert stats.t_interval(a.mean() - b.mean(), parts) == pytest.approx([expected.low, expected.high])
    assert stats.t_interval(0.5, [(0.0, 3)]) == [0.5, 0.5]
    assert stats.t_interval(0.5, [(np.nan, 3)]) is None
