import numpy as np
from sklearn.metrics import r2_score

from eva_core.contracts.cards import DatasetCard
from eva_vision.slide_level.regression.scoring import ValueScoring
from eva_vision.slide_level.scoring import Said

CARD = DatasetCard("x", task="slide_regression", metric="r2")


def test_outputs_are_values_records_and_rows():
    rng = np.random.default_rng(0)
    ids, targets = np.array([f"p{n}" for n in range(40)], object), rng.normal(5, 2, 40)
    outputs = np.stack([targets + rng.normal(0, s, 40) for s in (0.5, 1.0)])[..., None]
    said = Said("cv", ids, ids, targets, outputs, outputs, np.zeros(40, int))
    scoring = ValueScoring()
    record, intervals = scoring.record(said, CARD)
    expected = [r2_score(targets, of_run) for of_run in outputs[..., 0]]
    assert np.allclose(record["metrics"]["r2"]["values"], expected)
    assert record["n_groups"] == 40
    assert len(intervals.draws["r2"]) == 2000
    assert scoring.table([scoring.predictions(said, CARD)], CARD, [0, 1]).num_rows == 80


def test_folds_get_their_share_of_every_quarter():
    strata = ValueScoring().strata(np.arange(40.0))
    assert np.bincount(strata).tolist() == [10, 10, 10, 10]
