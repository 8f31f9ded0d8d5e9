import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_vision.slide_level.classification.scoring import ClassScoring
from eva_vision.slide_level.scoring import Said

CARD = DatasetCard("x", task="slide_classification", classes=("a", "b"))


def test_outputs_become_probabilities_records_and_rows():
    ids = np.array([f"p{n}" for n in range(30)], object)
    targets = np.arange(30) % 2
    outputs = np.stack([np.where(targets, 2.0, -2.0)[:, None], np.where(targets, -2.0, 2.0)[:, None]])  # right, wrong
    said = Said("cv", ids, ids, targets, outputs, outputs, np.zeros(30, int))
    scoring = ClassScoring()
    part = scoring.predictions(said, CARD)
    assert np.allclose(part.scores.sum(-1), 1)
    record, _ = scoring.record(said, CARD)
    assert record["metrics"]["balanced_accuracy"]["values"] == [1.0, 0.0]
    assert record["n_groups"] == 30
    assert scoring.table([part], CARD, [0, 1]).num_rows == 60
