from typing import Any

import numpy as np

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.multilabel.labels import counted, one_sided
from tests.conftest import Pictures


def dataset(targets: list[Any]) -> Pictures:
    found = Pictures()
    found.card = DatasetCard("labels", "multilabel", ("a", "b"), metric="auprc")
    found.samples = [Sample(f"s{n}", "train" if n % 2 else "test", target) for n, target in enumerate(targets)]
    return found


def test_what_is_not_annotated_is_not_counted():
    counts = counted(dataset([(1.0, np.nan), (0.0, 0.5), None, (0.4, 1.0), (1.0, 1.0), (np.nan, 0.0)]))
    assert counts == {"test": {"a": (2, 2), "b": (1, 1)}, "train": {"a": (0, 2), "b": (2, 3)}}
    assert one_sided(counts, "test") == ["a", "b"]
    assert one_sided(counts, "train") == ["a"]
