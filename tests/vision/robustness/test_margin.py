import numpy as np
import pytest
from croma import CRoMa

from eva_vision.robustness.margin import M, Margins, margins, quantile
from eva_vision.robustness.typed_neighbours import neighbours
from tests.vision.robustness.example import manifest, planted


@pytest.mark.parametrize(("seed", "pull"), [(0, 1.0), (1, 0.2), (2, 3.0)])
def test_as_croma_has_it(seed: int, pull: float):
    x, labels = planted(seed, pull=pull)
    near = neighbours(x, labels, 1, M)
    found = margins(near.so, near.os)
    expected = CRoMa.compute(x.astype(np.float64), manifest(labels), confounder_column="center")
    assert found.values == pytest.approx(expected.sample_values_aligned, abs=1e-6)
    values = {name: value[0] for name, value in found.measure(np.ones((1, len(x)))).items()}
    assert values == pytest.approx(
        {"croma": expected.value, "croma_ltm10": expected.ltm_alpha, "croma_f0": expected.f0}, abs=1e-6
    )


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=40), 1)  # with ties
    weights = rng.integers(0, 3, (5, 40)).astype(float)
    found = Margins(values, 0, 0).measure(weights)
    for i, w in enumerate(weights):
        repeated = np.repeat(values, w.astype(int))
        low = np.percentile(repeated, 10)
        expected = [np.median(repeated), repeated[repeated <= low].mean(), (repeated <= 0).mean()]
        assert [found[name][i] for name in ("croma", "croma_ltm10", "croma_f0")] == pytest.approx(expected)


def test_images_without_neighbours_of_a_kind_or_with_copies_alone_have_no_margin():
    so, os = np.array([[0.1, np.inf], [0.0, 0.0], [0.1, 0.3]]), np.array([[0.2, 0.2], [0.0, 0.0], [0.6, 0.6]])
    found = margins(so, os)
    assert (found.lacking, found.copies) == (1, 1)
    assert found.values == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)


def test_of_nothing_there_is_no_quantile():
    assert np.isnan(quantile(np.empty(0), np.empty((1, 0)), 0.5)).all()
    assert np.isnan(Margins(np.full(3, np.nan), 3, 0).measure(np.ones((1, 3)))["croma_f0"]).all()
