from dataclasses import replace

import numpy as np
import pytest

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


def test_grades_have_kappa_and_nothing_else_changes():
    ids = np.array([f"p{n}" for n in range(30)], object)
    targets = np.arange(30) % 3
    rng = np.random.default_rng(0)
    outputs = np.eye(3)[targets][None] * 3 + rng.normal(0, 1.5, (2, 30, 3))
    said = Said("cv", ids, ids, targets, outputs, outputs, np.zeros(30, int))
    card = replace(CARD, classes=("1", "2", "3"))
    plain, draws = ClassScoring().record(said, card)
    record, more = ClassScoring().record(said, replace(card, ordinal=True))
    kappa = record["metrics"].pop("quadratic_kappa")
    assert record == plain
    assert kappa["mean"] == pytest.approx(np.mean(kappa["values"]))
    assert kappa["ci95"][0] < kappa["mean"] < kappa["ci95"][1]
    assert more.draws.keys() - draws.draws.keys() == {"quadratic_kappa"}
