"""Weighted metrics of values against scipy and scikit-learn on the repeated sample."""

import warnings

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from eva_vision.regression.metric_names import METRICS
from eva_vision.regression.metrics import weighted

RNG = np.random.default_rng(0)


def draws(n: int, count: int = 20) -> np.ndarray:
    """Weights of bootstrap draws, (count, n)."""
    return np.stack([np.bincount(RNG.integers(n, size=n), minlength=n) for _ in range(count)])


def reference(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return {
        "r2": r2_score(y, x),
        "pearson": pearsonr(x, y)[0],
        "spearman": spearmanr(x, y)[0],
        "mae": mean_absolute_error(y, x),
    }


@pytest.mark.parametrize("decimals", [0, 8], ids=["ties", "no ties"])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_weights_are_repetitions(decimals: int, offset: float):
    y = RNG.normal(0, 2, 40).round(decimals) + offset
    x = (y + RNG.normal(0, 1, 40)).round(decimals)
    weights = draws(40)
    values = weighted(x, y, weights)
    for number, drawn in enumerate(weights):
        rows = np.repeat(np.arange(40), drawn)
        expected = reference(x[rows], y[rows])
        assert {name: values[name][number] for name in METRICS} == pytest.approx(
            expected, abs=1e-7 if offset else 1e-12
        )


def test_several_outputs_are_averaged():
    y = RNG.normal(size=(30, 3)) * [1, 100, 0.01]
    x = y + RNG.normal(size=(30, 3)) * [1, 50, 0.02]
    values = weighted(x, y, np.ones((1, 30)), ["a", "b", "c"])
    each = [reference(x[:, g], y[:, g]) for g in range(3)]
    for name in METRICS:
        assert values[name][0] == pytest.approx(np.mean([one[name] for one in each]))
    assert [values[f"pearson/{label}"][0] for label in "abc"] == pytest.approx([one["pearson"] for one in each])


def test_what_is_constant_is_undefined_and_left_out():
    y = RNG.normal(size=(30, 3))
    x = y + RNG.normal(size=(30, 3))
    y[:, 1], x[:, 2] = 0.1 + 0.2, 0.3  # rounding does not make 0.30000000000000004 vary
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = weighted(x, y, draws(30), ["a", "b", "c"])
    assert np.isnan(values["pearson/b"]).all()
    assert np.isnan(values["pearson/c"]).all()
    assert np.array_equal(values["pearson"], values["pearson/a"])
    of_two = weighted(x[:, [0, 2]], y[:, [0, 2]], np.ones((1, 30)), ["a", "c"])
    assert weighted(x, y, np.ones((1, 30)), ["a", "b", "c"])["r2"] == pytest.approx(of_two["r2"])
    alone = weighted(x[:, 2], y[:, 2], np.ones((1, 30)))
    assert {name: bool(np.isnan(value[0])) for name, value in alone.items()} == {
        "r2": False,
        "pearson": True,
        "spearman": True,
        "mae": False,
    }


def test_a_draw_without_an_output_has_no_mean():
    y = np.array([[0.0, 1], [0, 2], [0, 3], [5, 4]])
    x = y + RNG.normal(size=y.shape)
    values = weighted(x, y, np.array([[1, 1, 1, 1], [2, 1, 1, 0]]), ["rare", "common"])
    for name in ("r2", "pearson", "spearman"):
        assert np.isnan(values[name]).tolist() == [False, True]
    assert not np.isnan(values["mae"]).any()


def test_a_prediction_that_is_no_number_leaves_nothing():
    x = np.array([1.0, np.nan, 3.0])
    assert all(np.isnan(value).all() for value in weighted(x, np.arange(3.0), np.ones((2, 3))).values())


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        weighted(np.ones((3, 2)), np.ones((3, 1)), np.ones((1, 3)), ["a", "b"])
    with pytest.raises(ValueError, match=r"weights to have shape \(draws, 3\)"):
        weighted(np.ones(3), np.ones(3), np.ones(3))


def test_nothing_drawn_is_nothing_measured():
    assert {len(value) for value in weighted(np.arange(3.0), np.arange(3.0), np.empty((0, 3))).values()} == {0}
