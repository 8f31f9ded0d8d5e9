import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_vision.slide_level.classification.scoring import ClassScoring
from eva_vision.slide_level.regression.scoring import ValueScoring
from eva_vision.slide_level.scoring import Said, Scoring
from eva_vision.slide_level.survival.scoring import RiskScoring


def test_what_was_said_keeps_its_shapes():
    ids = np.array(["a", "b"], object)
    said = Said("test", ids, ids, np.array([0, 1]), np.zeros((3, 2, 1)), np.zeros((3, 2, 1)), np.zeros(2, int))
    assert said.outputs.shape == (3, 2, 1)
    assert isinstance(ClassScoring(), Scoring)


def test_outcomes_without_classes_are_looked_at_from_the_highest_to_the_lowest():
    ids = np.array(list("abcd"), object)
    outputs = np.array([1.0, 9.0, 3.0, 2.0])[None, :, None]
    said = Said("cv", ids, ids, np.zeros(4), outputs, outputs, np.array([0, 0, 1, 1]))
    card = DatasetCard("x")
    highest, median, lowest = ValueScoring().examples(said, card)
    assert [(one.which, one.id) for one in (highest, median, lowest)] == [
        ("highest value", "b"),
        ("median value", "d"),
        ("lowest value", "a"),
    ]
    assert highest.line == "b, value 9"
    name, values, ends = ValueScoring().of_patches(outputs, highest, card)
    assert (name, values.tolist(), ends) == ("value", [1, 9, 3, 2], (1, 9))


def test_risks_of_heads_of_different_folds_do_not_compare():
    outputs, folds = np.array([1.0, 9.0, 300.0, 200.0]), np.array([0, 0, 1, 1])
    assert RiskScoring().comparable(outputs, folds).tolist() == [0, 0.5, 0.5, 0]
