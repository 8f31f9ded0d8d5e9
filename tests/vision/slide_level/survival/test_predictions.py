from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from eva_vision.slide_level.survival.predictions import read_risks, risks_table
from tests.vision.slide_level.survival.conftest import risks_of


@pytest.mark.parametrize("folds", [0, 3])
def test_risks_are_read_as_they_were_written(written: Any, folds: int):
    part = risks_of(1, folds=folds)
    part = replace(part, groups=["", *part.groups[1:]])
    read = read_risks(written(part), "test")
    assert np.array_equal(read.risks, part.risks)
    assert (read.ids, read.groups) == (part.ids, part.groups)
    assert read.same_truth(part)
    assert read.events.dtype == bool
    assert (read.strata is None) == (folds == 0)
    assert not read.same_truth(replace(part, events=~part.events))
    assert not read.same_truth(replace(part, strata=np.arange(80) % 7))


def test_a_split_with_one_model_has_no_folds_beside_one_that_has():
    table = risks_table([risks_of(1, folds=2), replace(risks_of(1), split="new")], [0, 1])
    assert table["fold"].null_count == 160
    assert table.schema.field("event").type == pa.bool_()


@pytest.mark.parametrize("metric", ["c_harrell", "c_uno", "auc_t"])
@pytest.mark.parametrize("folds", [0, 2])
def test_a_better_model_is_told_from_a_worse_and_equals_are_not(metric: str, folds: int):
    good, bad, like = (risks_of(n, seed=s, folds=folds) for n, s in ((0.2, 0), (5, 1), (0.2, 2)))
    found = good.compare(bad, metric)
    assert found.n_groups == 40
    assert found.difference > 0.1
    assert found.is_significant(found.p)
    same = good.compare(like, metric)
    assert abs(same.difference) < 0.05
    assert not same.is_significant(same.p)
    assert (found.difference, found.p) == good.test(bad, metric)


def test_the_scale_of_a_risk_is_no_difference():
    part = risks_of(0.5)
    assert part.test(replace(part, risks=np.exp(part.risks) * 1000), "c_harrell") == (0, 1)


def test_a_single_group_tells_nothing():
    part = replace(risks_of(1), groups=["p"] * 80)
    assert np.isnan(part.test(part, "c_harrell")).all()
