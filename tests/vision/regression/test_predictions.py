from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eva_vision.regression.predictions import read_values
from tests.vision.regression.conftest import made_up


@pytest.mark.parametrize("outputs", [1, 3])
def test_values_are_read_as_they_were_written(written: Any, outputs: int):
    part = made_up(outputs=outputs)
    part.targets.ravel()[4] = np.nan
    part = replace(part, groups=["", *part.groups[1:]])
    read = read_values(written(part), "test")
    assert np.array_equal(read.targets, part.targets, equal_nan=True)
    assert np.array_equal(read.predicted, part.predicted)
    assert (list(read.labels), read.ids, read.groups) == (list(part.labels), part.ids, part.groups)
    assert read.same_truth(part)
    assert not read.same_truth(replace(part, targets=part.targets + 1))


@pytest.mark.parametrize("metric", ["r2", "pearson", "spearman", "mae"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_better_model_is_told_from_a_worse_and_equals_are_not(metric: str, outputs: int):
    good, bad, like = (made_up(noise=n, outputs=outputs, seed=s) for n, s in ((0.3, 0), (3, 1), (0.3, 2)))
    sign = -1 if metric == "mae" else 1
    found = good.compare(bad, metric)
    assert found.n_groups == 30
    assert sign * found.difference > 0
    assert found.is_significant(found.p)
    same = good.compare(like, metric)
    assert abs(same.difference) < abs(found.difference)
    assert not same.is_significant(same.p)
    assert (found.difference, found.p) == good.test(bad, metric)


def test_a_model_that_scales_its_values_otherwise_is_tested_by_its_order():
    part = made_up(noise=0.5)
    scaled = replace(part, predicted=np.exp(part.predicted) * 1000)
    assert part.test(scaled, "spearman") == (0, 1)


def test_differences_are_those_of_the_metrics():
    a, b = made_up(noise=0.5), made_up(noise=1, seed=4)
    mean = [np.mean([np.abs(run - of.targets).mean() for run in of.predicted]) for of in (a, b)]
    assert a.test(b, "mae")[0] == pytest.approx(mean[0] - mean[1])
    r2 = [1 - np.mean([((run - of.targets) ** 2).mean() for run in of.predicted]) / a.targets.var() for of in (a, b)]
    assert a.test(b, "r2")[0] == pytest.approx(r2[0] - r2[1])


def test_a_single_group_tells_nothing():
    part = replace(made_up(), groups=["p"] * 60)
    assert np.isnan(part.test(part, "mae")).all()
    assert part.compare(part, "mae").p is None
