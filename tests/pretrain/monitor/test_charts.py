"""Curves of a page keep their shape in few points, and gaps where a value is not finite."""

import numpy as np
import pytest

from eva_pretrain.monitor.charts import Curve, chart, thinned


def test_a_thinned_curve_has_the_mean_and_the_bounds_of_each_piece():
    rng = np.random.default_rng(0)
    values = rng.normal(size=1000)
    values[[3, 500]] = np.nan
    values[100:110] = np.nan
    few = thinned(np.arange(1, 1001), values, 100)
    assert few.steps.tolist() == list(range(10, 1001, 10))
    pieces = values.reshape(100, 10)
    gone = np.isnan(pieces).all(1)
    assert gone.sum() == 1
    np.testing.assert_allclose(few.means[~gone], np.nanmean(pieces[~gone], 1))
    np.testing.assert_array_equal(few.least[~gone], np.nanmin(pieces[~gone], 1))
    np.testing.assert_array_equal(few.greatest[~gone], np.nanmax(pieces[~gone], 1))
    assert np.isnan(few.means[gone]).all()


def test_a_chart_of_a_long_run_is_small_and_ends_at_its_last_value():
    steps = np.arange(100_000)
    drawn = chart("Loss", [Curve("loss", steps, np.sin(steps / 1000))])
    assert len(drawn) < 20_000
    assert f"{np.sin(99.999):.3g}".replace("-", "−") in drawn
    assert "nan" not in drawn.lower()


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [0.0, 0.0, 0.0], [1.0, np.nan, np.inf, 3.0]])
def test_short_flat_and_broken_curves_are_drawn(values: list[float]):
    drawn = chart("A < B", [Curve("x", np.arange(len(values)), np.array(values))])
    assert "A &lt; B" in drawn
    assert drawn.count("<circle") == np.isfinite(values).sum()
    assert "nan" not in drawn.lower()


def test_without_any_value_there_is_no_chart():
    assert chart("x", []) == chart("x", [Curve("x", np.arange(2), np.full(2, np.nan))]) == ""


def test_spikes_make_an_axis_logarithmic():
    values = np.ones(50)
    values[7] = 1e4
    assert "logarithmic" in chart("Norm", [Curve("n", np.arange(50), values)], spiky=True)
    assert "logarithmic" not in chart("Norm", [Curve("n", np.arange(50), np.ones(50))], spiky=True)
