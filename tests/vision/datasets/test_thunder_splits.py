"""Splits of eva renamed to those of THUNDER."""

from eva_core.contracts.dataset import Sample
from eva_vision.datasets.thunder_splits import as_thunder


def test_val_is_the_test_and_a_part_of_train_is_val():
    samples = [Sample("a", "train", 0), Sample("b", "train", 1), Sample("c", "val", 0)]
    renamed = as_thunder(samples, {"b", "c"})
    assert [(s.id, s.split, s.target) for s in renamed] == [("a", "train", 0), ("b", "val", 1), ("c", "test", 0)]
    assert [s.split for s in samples] == ["train", "train", "val"]
