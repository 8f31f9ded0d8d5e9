import numpy as np
import pytest

from eva_core.classification.task import _translated
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_core.task import task_named
from tests.conftest import Pictures

TASK = task_named("classification")


def test_labels_are_translated_to_the_order_of_the_head():
    theirs, ours = ["b", "new", "a"], ["a", "b"]
    assert _translated(np.array([0, 1, 2, -1]), theirs, ours).tolist() == [1, -1, 0, -1]


def test_metrics_know_how_many_classes_there_are():
    found = TASK.metrics(DatasetCard("d", classes=("a", "b", "c")))
    assert found["balanced_accuracy"].chance == pytest.approx(1 / 3)


def test_a_target_without_a_class_is_refused_by_name():
    dataset = Pictures()
    TASK.check_targets(dataset)
    dataset.samples[3] = Sample("odd", "train", 2)
    with pytest.raises(UsageError, match="'odd'"):
        TASK.check_targets(dataset)


@pytest.mark.parametrize(
    ("recalls", "protocol", "said"),
    [
        ([1, 0], "eva-0.4", "more steps, or --protocol strict"),
        ([1, 0, None], "strict", "more steps"),
        ([0.9, 0.1], "strict", None),
        ([1], "strict", None),
    ],
)
def test_a_head_that_gives_one_class_to_all_is_noted(recalls: list, protocol: str, said: str | None):
    metrics = {f"recall/{n}": {"mean": mean} for n, mean in enumerate(recalls)}
    results = {"main": {"split": "test"}, "splits": {"test": {"metrics": metrics}}, "identity": {"protocol": protocol}}
    notes = TASK.notes(results)
    assert [note.rpartition("; ")[2] for note in notes] == ([] if said is None else [said])
