from eva_core.contracts.cards import DatasetCard
from eva_vision.datasets.panda import Panda
from eva_vision.slide_level.classification.metric_names import KAPPA, metrics_for


def test_grades_are_also_scored_by_kappa_and_kinds_are_not():
    assert KAPPA in metrics_for(Panda.card)
    assert KAPPA not in metrics_for(DatasetCard("x", classes=("a", "b")))
    assert metrics_for(Panda.card)[KAPPA].bounds == (-1, 1)
    assert metrics_for(Panda.card)["balanced_accuracy"].chance == 1 / 6
