import numpy as np

from eva_vision.slide_level.classification.scoring import ClassScoring
from eva_vision.slide_level.scoring import Said, Scoring


def test_what_was_said_keeps_its_shapes():
    ids = np.array(["a", "b"], object)
    said = Said("test", ids, ids, np.array([0, 1]), np.zeros((3, 2, 1)), np.zeros((3, 2, 1)), np.zeros(2, int))
    assert said.outputs.shape == (3, 2, 1)
    assert isinstance(ClassScoring(), Scoring)
