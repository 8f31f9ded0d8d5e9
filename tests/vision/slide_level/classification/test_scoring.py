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


def said_of(outputs: np.ndarray, targets: np.ndarray) -> Said:
    ids = np.array([f"p{n}" for n in range(len(targets))], object)
    return Said("cv", ids, ids, targets, outputs, outputs, np.zeros(len(targets), int))


def test_the_surest_right_the_surest_wrong_and_the_median_are_looked_at():
    outputs = np.array([3.0, -1.0, 0.5, 2.0, -4.0])[None, :, None]  # log-odds of b
    right, wrong, median = ClassScoring().examples(said_of(outputs, np.array([1, 1, 1, 0, 0])), CARD)
    assert (right.which, right.id, right.label) == ("surest right", "p4", 0)
    assert right.line == "p4, is a, said a 0.98"
    assert (wrong.which, wrong.id, wrong.label) == ("surest wrong", "p3", 1)
    assert (median.which, median.id) == ("median", "p2")
    assert median.score == pytest.approx(1 / (1 + np.exp(-0.5)))
    only_right = ClassScoring().examples(said_of(outputs[:, :1], np.array([1])), CARD)
    assert [one.which for one in only_right] == ["surest right"]


def test_patches_have_the_probability_of_what_was_said_of_the_sample():
    outputs = np.array([[[0.0], [100.0]], [[0.0], [-100.0]]])  # two runs, two patches
    example = ClassScoring().examples(said_of(np.array([[[1.0]]]), np.array([1])), CARD)[0]
    name, values, ends = ClassScoring().of_patches(outputs, example, CARD)
    assert (name, values.tolist(), ends) == ("P(b)", [0.5, 0.5], (0.0, 1.0))
