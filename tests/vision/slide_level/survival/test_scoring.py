import numpy as np
from lifelines.utils import concordance_index

from eva_core.contracts.cards import DatasetCard
from eva_vision.slide_level.scoring import Said
from eva_vision.slide_level.survival.scoring import RiskScoring

CARD = DatasetCard("x", task="slide_survival", metric="c_harrell")


def said(folds: np.ndarray) -> Said:
    rng = np.random.default_rng(0)
    ids = np.array([f"p{n}" for n in range(40)], object)
    times, events = rng.exponential(1, 40), rng.integers(0, 2, 40)
    outputs = (-times + rng.normal(0, 1, 40))[None, :, None] + 100.0 * folds[:, None]
    return Said("cv", ids, ids, np.stack([times, events], 1), outputs, outputs, folds)


def test_risks_are_compared_as_lifelines_does():
    one = said(np.zeros(40, int))
    record, _ = RiskScoring().record(one, CARD)
    times, events = one.targets.T
    expected = concordance_index(times, -one.outputs[0, :, 0], events)
    assert np.isclose(record["metrics"]["c_harrell"]["mean"], expected)


def test_risks_of_different_folds_are_not_compared():
    apart = said(np.arange(40) % 2)  # one fold's risks lie far above the other's
    record, _ = RiskScoring().record(apart, CARD)
    assert record["metrics"]["c_harrell"]["mean"] > 0.6
    table = RiskScoring().table([RiskScoring().predictions(apart, CARD)], CARD, [0])
    assert set(table["fold"].to_pylist()) == {0, 1}


def test_folds_get_their_share_of_events():
    targets = np.array([[1.0, 1.0], [2.0, 0.0], [3.0, np.nan]])
    assert RiskScoring().strata(targets).tolist() == [1, 0, 0]
