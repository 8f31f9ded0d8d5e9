"""How sure the mean over seeds is, against SciPy and against what is known."""

import numpy as np
import pytest
from scipy import stats

from eva_pretrain.studies.seeds import over_seeds, resampled, welch


def test_the_variance_of_the_mean_over_few_seeds_is_right():
    values = np.array([0.60, 0.70, 0.71])
    drawn = resampled(np.repeat(values[:, None], 200_000, axis=1))
    assert drawn.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)


def test_one_seed_is_its_draws():
    draws = np.random.default_rng(0).normal(size=(1, 50))
    assert np.array_equal(resampled(draws), draws[0])


def test_seeds_and_groups_of_a_pair_are_the_same():
    draws = np.random.default_rng(0).normal(size=(3, 500))
    assert np.allclose(resampled(draws + 0.1) - resampled(draws), 0.1)


def test_over_seeds_is_students_interval():
    values = np.array([0.5, 0.52, 0.6])
    assert over_seeds(values) == pytest.approx(list(stats.ttest_1samp(values, 0).confidence_interval(0.95)))
    assert over_seeds(values[:1]) is None


def test_seeds_that_are_no_pairs_are_compared_as_welch_does():
    one, other = np.array([0.5, 0.52, 0.6]), np.array([0.4, 0.45])
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert welch(one, other) == pytest.approx(list(expected))
    assert welch(one, other[:1]) is None
    assert welch(np.array([0.5, 0.5]), np.array([0.4, 0.4])) == pytest.approx([0.1, 0.1])
