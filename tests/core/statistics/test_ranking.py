import numpy as np
import pytest
from scipy.stats import rankdata

from eva_core.statistics.ranking import ranks


def test_places_are_those_of_scipy_and_the_best_is_first():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (7, 4)) / 5  # ties on purpose
    found = ranks(values, np.repeat(values[..., None], 50, axis=2))
    expected = np.stack([rankdata(-values[:, t]) for t in range(4)], axis=1).mean(1)
    assert [r.mean for r in found] == pytest.approx(expected.tolist())


def test_a_model_that_always_wins_is_first_without_doubt():
    draws = np.random.default_rng(1).normal(0.5, 0.01, (3, 5, 200))
    draws[1] += 1
    found = ranks(draws.mean(2), draws)
    assert found[1].mean == 1
    assert found[1].ci95 == (1, 1)
    assert found[0].ci95[0] < found[0].ci95[1]


def test_tasks_that_disagree_widen_the_interval():
    values = np.array([[0.9, 0.1, 0.9, 0.1], [0.1, 0.9, 0.1, 0.9]])
    found = ranks(values, np.repeat(values[..., None], 500, axis=2))
    assert [r.mean for r in found] == [1.5, 1.5]
    assert found[0].ci95 == (1.0, 2.0)


def test_draws_in_which_a_score_is_undefined_do_not_count():
    draws = np.random.default_rng(2).normal(0.5, 0.001, (2, 3, 100))
    draws[0] += 1  # the first always wins, but for draws that are not defined
    values = draws.mean(2)
    for task in range(3):  # other draws in each task: none is defined in all
        draws[task % 2, task, 30 * task : 30 * task + 40] = np.nan
    assert [r.ci95 for r in ranks(values, draws)] == [(1, 1), (2, 2)]
    draws[1, 2] = np.nan
    assert [r.ci95 for r in ranks(values, draws)] == [None, None]
    assert [r.mean for r in ranks(values, draws)] == [1, 2]
